"""Running a recipe: check the data, extract once, one cell per method, fold and seed, tables.

    result = reproduce(load_recipe("table1"), data, out, backbone)

out/
cache/adience/        features, made once
cells/adience/...     one file per finished cell; see :mod:`adapter.reproduction.cells`
results/table1.md     the table; also .json and .html

It can stop anywhere and go on: what is finished is read, not computed. Data sets that are not
there have their place in the table, and are named in the result.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from adapter.names import choose_names
from adapter.reproduction.cells import CellResult, make_cell
from adapter.reproduction.data import BackboneChoice, TaskData, find_data, missing_lines
from adapter.reproduction.results import Results
from adapter.reproduction.tables import write_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.methods.method import FoldData, Method
    from adapter.reproduction.recipe import Recipe, Row, Task
    from featcache.backbone import BackboneSpec

UNALIGNED = "left out: it rests on a text tower that is aligned with the images"
NOT_CHOSEN = "left out of this run"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that a caller may want to show.

    Attributes:
        kind: ``note`` (a sentence), ``extract`` (images done), ``cell`` (steps done of the cell
            named in ``text``) or ``finished`` (cells done).
        text: What it is about.
        done: So far.
        total: In all.
    """

    kind: Literal["note", "extract", "cell", "finished"]
    text: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How a run ended.

    Attributes:
        results: Everything that the tables show.
        files: The tables that were written.
        missing: Per data set that is not there, what to download and where to put it.
        computed: Cells computed now.
        reused: Cells of earlier runs.
    """

    results: Results
    files: tuple[Path, ...]
    missing: tuple[str, ...]
    computed: int
    reused: int


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a recipe is run.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: Of the backbone while it extracts.
        only: Keys of the rows to run; empty for all.
        unaligned_text: Leave out methods that rest on a text tower aligned with the images,
            for a backbone that has none.
        keep_runs: Keep the trained adapters beside their cells.
        note: Said below the table, such as what the backbone is.
        cache: Folder of the caches; ``out``/cache when None.
        max_failures: Share of a data set's images that may fail.
    """

    device: str = "auto"
    precision: str = "auto"
    only: Sequence[str] = ()
    unaligned_text: bool = False
    keep_runs: bool = False
    note: str = ""
    cache: Path | None = None
    max_failures: float = 0.25


def reproduce(
    recipe: Recipe,
    data: str | Path,
    out: str | Path,
    backbone: BackboneSpec,
    options: Options | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Reproduction:
    """Run a recipe, or go on with it.

    Args:
        recipe: What to run.
        data: Folder that holds the data sets.
        out: Folder for caches, cells and tables.
        backbone: Makes the features; a cache that is there must be of the same.
        options: How.
        on_event: Told what happens.

    Returns:
        Results, files, and what is missing. The tables are written in any case, also when a cell
        fails or a signal stops the run.

    Raises:
        ConfigError: A row in ``options.only`` does not exist.
        FingerprintMismatchError: A cache holds features of another backbone.
        KeyboardInterrupt: A signal stopped the run.
    """
    options = options or Options()
    rows = [row.key for row in recipe.rows if row.method is not None]
    only = choose_names(f"row of the recipe {recipe.name}", options.only, rows, commas=True)
    options = replace(options, only=only)
    return _Run(recipe, Path(data), Path(out), backbone, options, on_event).run()


class _Run:
    """One call of :func:`reproduce`."""

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        out: Path,
        backbone: BackboneSpec,
        options: Options,
        on_event: Callable[[Event], None],
    ) -> None:
        from featcache.devices import pick_device

        self.recipe, self.data, self.out, self.options = recipe, data, out, options
        self.device = str(pick_device(options.device))
        self.choice = BackboneChoice(
            spec=backbone,
            device=self.device,
            precision=options.precision,
            max_failures=options.max_failures,
        )
        self.emit = on_event
        self.results = Results(recipe, device=self.device, note=options.note)
        self.running: frozenset[str] = frozenset()
        self.computed = self.reused = self.finished = self.total = 0

    def run(self) -> Reproduction:
        """Run all tasks; write the tables whatever happens."""
        tasks, missing = self._find()
        files: tuple[Path, ...] = ()
        rows = [(row, row.method) for row in self.recipe.rows if row.method is not None]
        self.running = frozenset(row.key for row, method in rows if self._runs(row, method))
        self.total = (
            len(self.running) * len(self.recipe.seeds) * sum(len(t.folds) for t, _ in tasks)
        )
        try:
            for task, task_data in tasks:
                self._run_task(task, task_data, rows)
        finally:
            files = write_tables(self.results.to_dict(), self.out / "results")
        return Reproduction(
            results=self.results,
            files=files,
            missing=tuple(missing),
            computed=self.computed,
            reused=self.reused,
        )

    def _find(self) -> tuple[list[tuple[Task, TaskData]], list[str]]:
        """Look for all data before any work is done."""
        caches = self.options.cache or self.out / "cache"
        found, missing = [], []
        for task in self.recipe.tasks:
            reader, report = find_data(self.data, task)
            if report.ok:
                self.emit(
                    Event(
                        kind="note",
                        text=f"{task.title}: {report.num_images:,} images in {report.root}",
                    )
                )
                found.append((task, TaskData(task, reader, caches / task.key, self.choice)))
                self.results.check(task, report)
            else:
                lines = missing_lines(task, report)
                missing.append("\n".join(lines))
                self.results.missing(task, lines)
                self.emit(Event(kind="note", text=f"{task.title}: not there"))
        return found, missing

    def _runs(self, row: Row, method: Method) -> bool:
        """Whether a row is run; if it is not, the table says why."""
        if self.options.only and row.key not in self.options.only:
            self.results.left_out(row, NOT_CHOSEN)
            return False
        if self.options.unaligned_text and method.needs_text:
            self.results.left_out(row, UNALIGNED)
            return False
        return True

    def _run_task(
        self, task: Task, task_data: TaskData, rows: Sequence[tuple[Row, Method]]
    ) -> None:
        """Extract, then compute what is not finished."""
        task_data.prepare(
            self.recipe,
            lambda done, images: self.emit(
                Event(kind="extract", text=task.title, done=done, total=images)
            ),
        )
        self.results.features(task, task_data)
        for row, method in rows:
            for fold in task.folds:
                for seed in self.recipe.seeds:
                    self._cell(task, task_data, row, method, fold, seed)

    def _cell(
        self,
        task: Task,
        task_data: TaskData,
        row: Row,
        method: Method,
        fold: int | None,
        seed: int,
    ) -> None:
        """Read a finished cell, or compute and keep it; of a row that is not run, only read."""
        where = task.title if fold is None else f"{task.title} fold {fold}"
        name = f"{row.title}, {where}"

        def show(done: int, steps: int) -> None:
            self.emit(Event(kind="cell", text=name, done=done, total=steps))

        data = task_data.fold_data(fold, seed, self.out, self.device, show)
        cell = make_cell(self.out / "cells", task, row.key, method, data)
        result = cell.read()
        if result is not None:
            self.reused += 1
        elif row.key in self.running:
            show(0, 1)
            result = self._compute(method, replace(data, folder=cell.state))
            cell.write(result)
            if cell.state.exists() and not self.options.keep_runs:
                shutil.rmtree(cell.state)
            self.computed += 1
        if result is not None:
            self.results.add(task, row, fold, seed, result)
        if row.key in self.running:
            self.finished += 1
            self.emit(Event(kind="finished", text=row.title, done=self.finished, total=self.total))

    def _compute(self, method: Method, data: FoldData) -> CellResult:
        """Fit on one fold, predict its test part, and time both."""
        started = time.monotonic()
        prediction = method.fit(data).predict(data.vectors, data.test.rows)
        seconds = round(time.monotonic() - started, 3)
        return CellResult.of(prediction, data, seconds=seconds, device=self.results.device)

"""Running recipes: check the data, extract once, compute each cell once, write tables.

    result = reproduce([load_recipe("table1")], data, out, backbone)

out/
cache/                one cache per data set and backbone; see :mod:`adapter.reproduction.sources`
cells/adience/...     one file per finished cell; see :mod:`adapter.reproduction.cells`
results/table1.md     the table; also .json, .html, .csv and .tex
results/index.html    all tables, where there are several

It can stop anywhere and go on: what is finished is read, not computed. Data sets that are not
there have their place in the table, and are named in the result. A cell that fails is shown as
failed with its reason, and the others are computed.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from adapter.errors import AdapterError, ConfigError
from adapter.names import choose_names
from adapter.reproduction.cells import (
    Cell,
    CellResult,
    QueryResult,
    labels_digest,
    make_cell,
    task_identity,
)
from adapter.reproduction.data import TaskData
from adapter.reproduction.learning import learn, predictor_for
from adapter.reproduction.options import Event, Options, Reproduction
from adapter.reproduction.plan import make_plan, same_task
from adapter.reproduction.results import Results
from adapter.reproduction.sources import (
    BackboneChoice,
    Source,
    cache_name,
    find_data,
    missing_lines,
    old_cache,
)
from adapter.reproduction.tables import write_index, write_tables
from featcache.errors import FeatcacheError, WorkersError
from featcache.extraction.checks import free_bytes
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from adapter.methods.method import FoldData
    from adapter.reproduction.plan import Fit, Wanted
    from adapter.reproduction.recipe import Recipe, Row, Task
    from featcache.backbone import BackboneSpec
    from featcache.datasets.base import Dataset
    from featcache.datasets.records import CheckReport

UNALIGNED = "left out: it rests on a text tower that is aligned with the images"
NOT_CHOSEN = "left out of this run"
NO_ANSWER = "it learned nothing that could answer this query"


def reproduce(
    recipes: Sequence[Recipe],
    data: str | Path,
    out: str | Path,
    backbone: BackboneSpec,
    options: Options | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Reproduction:
    """Run recipes, or go on with them.

    Args:
        recipes: What to run; a cell that several want is computed once.
        data: Folder that holds the data sets.
        out: Folder for caches, cells and tables.
        backbone: Makes the features; a cache that is there must be of the same.
        options: How.
        on_event: Told what happens.

    Returns:
        Results, files, what is missing and what failed. The tables are written in any case, also
        when a signal stops the run.

    Raises:
        ConfigError: A row in ``options.only`` does not exist, or two recipes have one name.
        KeyboardInterrupt: A signal stopped the run.
    """
    options = options or Options()
    names = [recipe.name for recipe in recipes]
    if len(set(names)) < len(names):
        raise ConfigError(f"two recipes have one name: {', '.join(names)}")
    if options.only:
        (recipe,) = recipes
        rows = [row.key for row in recipe.rows if row.method is not None]
        only = choose_names(f"row of the recipe {recipe.name}", options.only, rows, commas=True)
        options = replace(options, only=only)
    return _Run(recipes, Path(data), Path(out), backbone, options, on_event).run()


class _Run:
    """One call of :func:`reproduce`."""

    def __init__(
        self,
        recipes: Sequence[Recipe],
        data: Path,
        out: Path,
        backbone: BackboneSpec,
        options: Options,
        on_event: Callable[[Event], None],
    ) -> None:
        from featcache.devices import pick_device

        self.recipes, self.data, self.out, self.options = recipes, data, out, options
        self.device = str(pick_device(options.device))
        self.choice = BackboneChoice(
            spec=backbone,
            device=self.device,
            precision=options.precision,
            max_failures=options.max_failures,
        )
        self.emit = on_event
        self.tables = [Results(r, device=self.device, note=options.note) for r in recipes]
        self.found: dict[str, tuple[Dataset, CheckReport]] = {}
        self.sources: dict[str, Source] = {}
        self.datas: dict[str, TaskData] = {}
        self.failed: list[str] = []
        self.left: Counter[int] = Counter()  # cells to come, by table
        self.files: dict[int, tuple[Path, ...]] = {}
        self.computed = self.reused = self.finished = self.total = 0

    def run(self) -> Reproduction:
        """Compute everything; write the tables whatever happens."""
        missing = self._look()
        fits = make_plan(self.recipes, self._data_of, self._runs)
        wanted = [cell for fit in fits for cell in fit.cells.values()]
        self.total = sum(cell.run for cell in wanted)
        self.left = Counter(t for c in wanted for t in {p.table for p in c.places})
        self._announce(fits)
        files: list[Path] = []
        try:
            before: set[str] = set()
            if self.options.spread is not None:
                self._spread(fits)
            for fit in fits:
                now = set(fit.caches())
                for source in self.sources.values():
                    if str(source.folder) in before - now:
                        source.release()
                before = now
                self._fit(fit)
        finally:
            for number in range(len(self.tables)):
                self._write(number)
            files = [path for number in sorted(self.files) for path in self.files[number]]
            if len(self.tables) > 1 and self.options.write:
                docs = [table.to_dict() for table in self.tables]
                files.append(write_index(docs, self.out / "results"))
        return Reproduction(
            tables=tuple(self.tables),
            files=tuple(files),
            missing=tuple(missing),
            failed=tuple(self.failed),
            computed=self.computed,
            reused=self.reused,
            tasks={
                cell.tested.task.key: cell.tested
                for fit in fits
                for cell in fit.cells.values()
                if any(place.table == len(self.recipes) - 1 for place in cell.places)
            },
        )

    # Before the work

    def _look(self) -> list[str]:
        """Look for all data before any work is done."""
        missing: dict[str, str] = {}
        for recipe, results in zip(self.recipes, self.tables, strict=True):
            for task in recipe.tasks:
                key = _data_key(task)
                if key not in self.found:
                    self.found[key] = find_data(self.data, task)
                    report = self.found[key][1]
                    where = f"{quantity(report.num_images, 'image')} in {report.root}"
                    text = where if report.ok else "not there"
                    self.emit(Event(kind="note", text=f"{task.title}: {text}"))
                _, report = self.found[key]
                if report.ok:
                    results.check(task, report)
                else:
                    lines = missing_lines(task, report)
                    missing[task.dataset] = "\n".join(lines)
                    results.missing(task, lines)
        return list(missing.values())

    def _data_of(self, table: int, row: Row, task: Task) -> TaskData | None:
        """Return a task over the source that a row reads; None where its data are missing."""
        reader, report = self.found[_data_key(task)]
        if not report.ok:
            return None
        recipe = self.recipes[table]
        fields = {**recipe.backbone, **task.backbone, **row.backbone}
        choice = self.choice.changed(fields, same_model=self.options.same_model)
        caches = self.options.cache or self.out / "cache"
        folder = caches / cache_name(task.dataset, choice.spec)
        if choice.spec == self.choice.spec:
            folder = old_cache(caches, task) or folder
        key = f"{folder}|{_data_key(task)}|{task.validation}"
        if key not in self.sources:
            self.sources[key] = Source(reader, folder, choice, recipe.views, task.validation)
        return self.datas.setdefault(f"{key}|{task!r}", TaskData(task, self.sources[key]))

    def _runs(self, table: int, row: Row) -> bool:
        """Whether a row is run; if it is not, the table says why."""
        if self.options.only and row.key not in self.options.only:
            self.tables[table].left_out(row, NOT_CHOSEN)
            return False
        if self.options.unaligned_text and row.method is not None and row.method.needs_text:
            self.tables[table].left_out(row, UNALIGNED)
            return False
        return True

    def _announce(self, fits: Sequence[Fit]) -> None:
        """Say which caches will be extracted, and how much of the disk they take."""
        needed: dict[str, int] = {}
        for fit in fits:
            if not any(cell.run for cell in fit.cells.values()):
                continue
            for data in (*fit.sources, *(cell.tested for cell in fit.cells.values())):
                source, images = data.source, self.found[_data_key(data.task)][1].num_images
                name = source.folder.name
                if name in needed or source.exists:
                    continue
                try:
                    needed[name] = source.estimate(images)
                except FeatcacheError:  # its extraction says what is the matter
                    needed[name] = 0
        if not needed:
            return
        each = "".join(f"\n  {name}: about {size / 1e9:.1f} GB" for name, size in needed.items())
        caches = self.options.cache or self.out / "cache"
        self.emit(
            Event(
                kind="note",
                text=f"to extract into {caches}: about {sum(needed.values()) / 1e9:.1f} GB in all, "
                f"{free_bytes(caches) / 1e9:.1f} GB are free{each}",
            )
        )

    # The work

    def _spread(self, fits: Sequence[Fit]) -> None:
        """Compute cells on other processes; here they are read afterwards, as on a second run.

        Whatever fails there is tried again here, and its failure told as always.
        """
        assert self.options.spread is not None
        wanted = []
        for number, fit in enumerate(fits):
            if any(cell.run for cell in fit.cells.values()):
                with suppress(FeatcacheError, AdapterError):  # `_fit` says why
                    self._prepare(fit)  # two processes cannot extract into one cache
                wanted.append(number)
        options = replace(self.options, spread=None, write=False)
        given = (self.recipes, self.data, self.out, self.choice.spec, options)
        try:
            self.options.spread(_compute_fit, [(*given, number) for number in wanted])
        except WorkersError as error:
            self.emit(Event(kind="note", text=str(error)))

    def only(self, number: int) -> None:
        """Compute the cells of one model of the plan, and no table."""
        self._look()
        self._fit(make_plan(self.recipes, self._data_of, self._runs)[number])

    def _fit(self, fit: Fit) -> None:
        """Read the cells that are there; learn, and compute the others."""
        wanted = list(fit.cells.values())
        try:
            if not self._prepare(fit):
                return
            learned = [
                source.folds(fit.fold_of(source), fit.seed, self.out, self.device)
                for source in fit.sources
            ]
        except Exception as error:
            self._fail(wanted, error)
            return
        to_compute: list[tuple[Wanted, Cell, list[FoldData]]] = []
        for cell in wanted:
            try:
                tested = self._tested(fit, cell, learned)
                named = self._name(fit, cell, tested, learned)
                result = named.read()
            except Exception as error:
                self._fail([cell], error)
                continue
            if result is not None:
                self.reused += 1
                self._done(cell, result, reused=True)
            elif cell.run:
                to_compute.append((cell, named, tested))
            else:
                self._count(cell, "finished")
        if to_compute:
            try:
                self._compute(fit, learned, to_compute)
            except Exception as error:
                self._fail([c for c, named, _ in to_compute if not named.path.exists()], error)

    def _prepare(self, fit: Fit) -> bool:
        """Extract what is missing; False where nothing is to be computed and no cache is there."""
        runs = any(cell.run for cell in fit.cells.values())
        for data in (*fit.sources, *(cell.tested for cell in fit.cells.values())):
            if not runs and not data.source.exists:
                return False

            def show(done: int, images: int, data: TaskData = data) -> None:
                name = f"{data.source.reader.info.title} ({data.source.folder.name})"
                self.emit(Event(kind="extract", text=name, done=done, total=images))

            data.source.prepare(show)
        for cell in fit.cells.values():
            for place in cell.places:
                self.tables[place.table].features(place.task, cell.tested.source)
        return True

    def _tested(self, fit: Fit, cell: Wanted, learned: list[list[FoldData]]) -> list[FoldData]:
        """Return the fold that a cell is tested on, by query."""
        if len(learned) == 1 and same_task(cell.tested, fit.sources[0]):
            return learned[0]
        return cell.tested.folds(cell.fold, fit.seed, self.out, self.device, learn=False)

    def _name(
        self, fit: Fit, cell: Wanted, tested: list[FoldData], learned: list[list[FoldData]]
    ) -> Cell:
        """Name a cell; what its model learns is part of it where that is not the task itself."""
        others: list[dict[str, Any]] = []
        if tested is not learned[0]:
            others = [
                {
                    "task": task_identity(source.task),
                    "share": share,
                    "labels": labels_digest(folds),
                }
                for source, share, folds in zip(fit.sources, fit.shares, learned, strict=True)
            ]
        first = cell.places[0]
        folder = self.out / "cells"
        return make_cell(folder, first.task, first.row.key, fit.method, tested, others)

    def _compute(
        self,
        fit: Fit,
        learned: list[list[FoldData]],
        cells: Sequence[tuple[Wanted, Cell, list[FoldData]]],
    ) -> None:
        """Learn once, predict every cell, keep the results."""
        state = cells[0][1].state
        title = _title(cells[0][0])

        def show(done: int, steps: int) -> None:
            self.emit(Event(kind="cell", text=title, done=done, total=steps))

        show(0, 1)
        started = time.monotonic()
        told = [replace(data, folder=state) for folds in learned for data in folds]
        shares = [share for folds, share in zip(learned, fit.shares, strict=True) for _ in folds]
        predictors = learn(fit.method, told, shares, show)
        learning = time.monotonic() - started
        for cell, named, tested in cells:
            started = time.monotonic()
            found = [(predictor_for(predictors, told, data), data) for data in tested]
            asked = [(*one, data) for one, data in found if one is not None]
            if not asked:
                self._cannot(cell, NO_ANSWER)
                continue
            predictions = [p.predict(data.vectors, data.test.rows) for p, _, data in asked]
            result = CellResult(
                queries=tuple(
                    QueryResult.of(prediction, data, of)
                    for prediction, (_, of, data) in zip(predictions, asked, strict=True)
                ),
                classifies=all(p.probabilities is not None for p in predictions),
                seconds=round(learning + time.monotonic() - started, 3),
                device=self.tables[0].device,
            )
            named.write(result)
            self.computed += 1
            self._done(cell, result)
        if state.exists() and not self.options.keep_runs:
            shutil.rmtree(state)

    # What became of a cell

    def _done(self, cell: Wanted, result: CellResult, *, reused: bool = False) -> None:
        for place in cell.places:
            self.tables[place.table].add(place.task, place.row, place.fold, place.seed, result)
        self._count(cell, "reused" if reused else "finished")

    def _cannot(self, cell: Wanted, reason: str) -> None:
        for place in cell.places:
            self.tables[place.table].cannot(place.task, place.row, reason)
        self._count(cell, "finished")

    def _fail(self, cells: Sequence[Wanted], error: Exception) -> None:
        """Show cells as failed; errors that are not ours keep their kind in the message."""
        ours = isinstance(error, (FeatcacheError, AdapterError))
        reason = str(error) if ours else f"{type(error).__name__}: {error}"
        for cell in cells:
            for place in cell.places:
                self.tables[place.table].failed(place.task, place.row, reason)
            if cell.run:
                self.failed.append(f"{_title(cell)}: {reason}")
            self._count(cell, "finished")

    def _count(self, cell: Wanted, kind: Literal["reused", "finished"]) -> None:
        """Tell of a cell that is settled; write the tables that it completes."""
        if cell.run:
            self.finished += 1
            self.emit(Event(kind=kind, text=_title(cell), done=self.finished, total=self.total))
        for number in {place.table for place in cell.places}:
            self.left[number] -= 1
            if not self.left[number] and len(self.tables) > 1:
                self._write(number)

    def _write(self, number: int) -> None:
        if self.options.write:
            self.files[number] = write_tables(self.tables[number].to_dict(), self.out / "results")


def _compute_fit(
    recipes: Sequence[Recipe],
    data: Path,
    out: Path,
    backbone: BackboneSpec,
    options: Options,
    number: int,
) -> None:
    """Compute the cells of one model in another process."""
    _Run(recipes, data, out, backbone, options, lambda event: None).only(number)


def _data_key(task: Task) -> str:
    """Tell where a task's data set is looked for, and how it is read."""
    return f"{task.dataset}|{task.folders}|{sorted(task.options.items())}"


def _title(cell: Wanted) -> str:
    """Name a cell for people."""
    place = cell.places[0]
    where = place.task.title
    return f"{place.row.title}, {where}" + ("" if place.fold is None else f" fold {place.fold}")

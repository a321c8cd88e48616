"""Collecting cells into what the tables show: means, spreads, differences, comparisons.

``Results.to_dict`` is the content of the JSON file, and all that
:mod:`adapter.reproduction.tables` reads.
"""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.evaluation.metrics import finite_or_none, mean_and_spread
from adapter.evaluation.titles import COLUMNS
from adapter.reproduction.cells import describe
from adapter.reproduction.comparing import compare_cells
from adapter.reproduction.measures import measure
from featcache.datasets.stand_in import WORDS
from featcache.devices import device_name
from featcache.versions import versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.reproduction.cells import CellResult
    from adapter.reproduction.recipe import Metric, Recipe, Row, Task
    from adapter.reproduction.sources import Source
    from featcache.datasets.records import CheckReport

PACKAGES = ("featcache", "torch", "open_clip_torch", "timm", "numpy", "scipy")


@dataclass(frozen=True, kw_only=True)
class FeatureFacts:
    """What is known of one cache, in the JSON file's words."""

    name: str
    images: int
    images_failed: int
    fingerprint: str
    backbone: dict[str, Any]
    extraction_seconds: float


@dataclass(kw_only=True)
class TaskFacts:
    """What is known of a task's data: as its fields say, in the JSON file's words."""

    status: str = "missing"
    stand_in: bool = False
    root: str = ""
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    features: list[FeatureFacts] = field(default_factory=list)


class Results:
    """Everything that a table shows; filled while recipes run."""

    def __init__(self, recipe: Recipe, *, device: str, note: str = "") -> None:
        self.recipe, self.note = recipe, note
        self.device = device_name(device)
        self._facts = {task.key: TaskFacts() for task in recipe.tasks}
        self._cells: dict[tuple[str, str], dict[tuple[int | None, int], CellResult]]
        self._cells = defaultdict(dict)
        self._left_out: dict[str, str] = {}
        self._reasons: dict[tuple[str, str], tuple[str, str]] = {}

    def check(self, task: Task, report: CheckReport) -> None:
        """Note where a task's data are, and what their check says."""
        facts = self._facts[task.key]
        facts.status, facts.root, facts.stand_in = "there", report.root, report.stand_in
        facts.notes = [*report.notes, *(f"leak: {leak}" for leak in report.leaks)]
        if report.images_missing:
            facts.notes.append(f"{report.images_missing:,} named images are not on the disk")

    def missing(self, task: Task, lines: Sequence[str]) -> None:
        """Note that a task's data are not there."""
        self._facts[task.key].missing = list(lines)

    def features(self, task: Task, source: Source) -> None:
        """Note what the features of a cache are."""
        facts, cache = self._facts[task.key].features, source.cache
        if any(known.name == source.folder.name for known in facts):
            return
        facts.append(
            FeatureFacts(
                name=source.folder.name,
                images=len(cache),
                images_failed=cache.samples.num_rows - len(cache),
                fingerprint=cache.fingerprint.digest,
                backbone=dict(cache.manifest.backbone),
                extraction_seconds=round(source.extraction_seconds, 1),
            )
        )

    def left_out(self, row: Row, reason: str) -> None:
        """Note why a row is not run."""
        self._left_out[row.key] = reason

    def cannot(self, task: Task, row: Row, reason: str) -> None:
        """Note why a row has nothing to say of a task."""
        self._reasons[task.key, row.key] = ("not possible", reason)

    def failed(self, task: Task, row: Row, reason: str) -> None:
        """Note why a cell could not be computed."""
        self._reasons[task.key, row.key] = ("failed", reason)

    def add(self, task: Task, row: Row, fold: int | None, seed: int, result: CellResult) -> None:
        """Take a finished cell."""
        self._cells[task.key, row.key][fold, seed] = result

    def cell(self, task: str, row: str) -> CellResult | None:
        """Return a finished cell of the first fold and seed, by the keys of task and row."""
        return next(iter(self._cells[task, row].values()), None)

    def per_fold(self, task: Task, row: Row, metric: Metric) -> dict[int | None, float]:
        """A metric in every fold that is finished, averaged over seeds."""
        found: dict[int | None, list[float]] = defaultdict(list)
        for (fold, _), cell in self._cells[task.key, row.key].items():
            found[fold].append(measure(cell, metric, task)[0])
        return {fold: float(np.mean(values)) for fold, values in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        recipe = self.recipe
        return {
            "format": 2,
            "recipe": recipe.name,
            "title": recipe.title,
            "source": recipe.source,
            "quick": recipe.quick,
            "stand_in": any(facts.stand_in for facts in self._facts.values()),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seeds": list(recipe.seeds),
            "reference": recipe.reference,
            "device": self.device,
            "machine": f"{platform.machine()}, {os.cpu_count()} processors",
            "versions": {"python": platform.python_version(), **versions(*PACKAGES)},
            "notes": [*([self.note] if self.note else []), *self._warnings(), *recipe.notes],
            "figures": figures_of(recipe.name),
            "tasks": [self._task(task) for task in recipe.tasks],
            "rows": [self._row(row) for row in recipe.rows],
            "comparisons": [
                comparison
                for task in recipe.tasks
                for metric in task.metrics
                for row in recipe.rows
                if (comparison := self._comparison(task, metric, row)) is not None
            ],
        }

    def _warnings(self) -> list[str]:
        seeded = {
            str(facts.backbone["pretrained"])
            for known in self._facts.values()
            for facts in known.features
            if str(facts.backbone.get("pretrained", "")).startswith("seed:")
        }
        return [
            f"The backbone's weights are random ({name}): these numbers test the machinery and "
            "say nothing about any method."
            for name in sorted(seeded)
        ]

    def _task(self, task: Task) -> dict[str, Any]:
        facts = self._facts[task.key]
        return {
            "key": task.key,
            "title": f"{task.title} ({WORDS})" if facts.stand_in else task.title,
            "split": "" if facts.stand_in else task.split,
            "choices": list(task.choices),
            "folds": list(task.folds),
            "metrics": [
                {
                    "key": metric,
                    "title": COLUMNS[metric].title,
                    "unit": COLUMNS[metric].unit,
                    "digits": COLUMNS[metric].digits,
                    "higher_is_better": COLUMNS[metric].higher_is_better,
                }
                for metric in task.metrics
            ],
            **vars(facts),
            "features": [asdict(known) for known in facts.features],
        }

    def _row(self, row: Row) -> dict[str, Any]:
        tasks = self.recipe.tasks
        kind = "printed" if row.method is None else "run"
        if row.key in self._left_out and not any(self._cells[t.key, row.key] for t in tasks):
            kind = "left out"
        reason = self._left_out.get(row.key, "") if kind == "left out" else row.reason
        return {
            "key": row.key,
            "title": row.title,
            "kind": kind,
            "reason": reason,
            "note": row.note,
            "settings": None if row.method is None else describe(row.method),
            "tasks": {task.key: self._entry(task, row) for task in tasks},
        }

    def _entry(self, task: Task, row: Row) -> dict[str, Any]:
        cells = self._cells[task.key, row.key]
        status, reason = self._reasons.get((task.key, row.key), ("", ""))
        return {
            "status": status,
            "reason": reason,
            "queries": max((len(cell.queries) for cell in cells.values()), default=0),
            "folds_run": len({fold for fold, _ in cells}),
            "seconds": [cell.seconds for cell in cells.values()],
            "seconds_mean": round(float(np.mean([c.seconds for c in cells.values()])), 2)
            if cells
            else None,
            "device": sorted({cell.device for cell in cells.values()}),
            "metrics": {metric: self._numbers(task, row, metric) for metric in task.metrics},
        }

    def _numbers(self, task: Task, row: Row, metric: Metric) -> dict[str, Any]:
        values = self.per_fold(task, row, metric)
        mean, std, count = mean_and_spread(values.values())
        printed = row.printed.get(task.key, {}).get(metric)
        return {
            "mean": finite_or_none(mean),
            "std": finite_or_none(std),
            "folds": count,
            "per_fold": [
                {"fold": fold, "value": finite_or_none(value)} for fold, value in values.items()
            ],
            "printed": None if printed is None else printed.mean,
            "printed_std": None if printed is None else printed.std,
            "difference": None
            if printed is None or self._facts[task.key].stand_in
            else finite_or_none(mean - printed.mean),
        }

    def _comparison(self, task: Task, metric: Metric, row: Row) -> dict[str, Any] | None:
        """Compare a row with the reference, over the folds and seeds that both have."""
        ours = self._cells[task.key, self.recipe.reference]
        theirs = self._cells[task.key, row.key]
        common = [key for key in theirs if key in ours]
        if row.key == self.recipe.reference or not common:
            return None
        result = compare_cells(
            {key: theirs[key] for key in common}, {key: ours[key] for key in common}, metric, task
        )
        if result is None:
            return None
        return {
            "task": task.key,
            "metric": metric,
            "row": row.key,
            "reference": self.recipe.reference,
            "difference": result.difference,
            "low": result.low,
            "high": result.high,
            "level": 0.95,
            "folds": result.folds,
            "images": result.images,
            "within_noise": result.within_noise,
        }


def figures_of(table: str) -> list[dict[str, str]]:
    """Return names and titles of the figures that belong to a table."""
    from adapter.recipes.figures import FIGURES

    return [{"name": f.name, "title": f.title} for f in FIGURES.values() if f.table == table]

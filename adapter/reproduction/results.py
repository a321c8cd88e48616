"""Collecting cells into what the tables show: means, spreads, differences, comparisons.

``Results.to_dict`` is the content of the JSON file, and all that
:mod:`adapter.reproduction.tables` reads.
"""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.evaluation.metrics import finite_or_none, mean_and_spread
from adapter.evaluation.titles import METRICS
from adapter.reproduction.cells import describe
from adapter.reproduction.statistics import FoldDifferences, compare
from featcache.devices import device_name
from featcache.versions import versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapter.reproduction.cells import CellResult
    from adapter.reproduction.data import TaskData
    from adapter.reproduction.recipe import Metric, Recipe, Row, Task
    from featcache.datasets.records import CheckReport

PACKAGES = ("featcache", "torch", "open_clip_torch", "timm", "numpy", "scipy")


@dataclass(kw_only=True)
class TaskFacts:
    """What is known of a task's data: as its fields say, in the JSON file's words."""

    status: str = "missing"
    root: str = ""
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    images: int = 0
    images_failed: int = 0
    fingerprint: str = ""
    backbone: dict[str, Any] = field(default_factory=dict)
    extraction_seconds: float = 0.0


class Results:
    """Everything that the tables show; filled while a recipe runs."""

    def __init__(self, recipe: Recipe, *, device: str, note: str = "") -> None:
        self.recipe, self.note = recipe, note
        self.device = device_name(device)
        self._facts = {task.key: TaskFacts() for task in recipe.tasks}
        self._cells: dict[tuple[str, str], dict[tuple[int | None, int], CellResult]]
        self._cells = defaultdict(dict)
        self._left_out: dict[str, str] = {}

    def check(self, task: Task, report: CheckReport) -> None:
        """Note where a task's data are, and what their check says."""
        facts = self._facts[task.key]
        facts.status, facts.root = "there", report.root
        facts.notes = [*report.notes, *(f"leak: {leak}" for leak in report.leaks)]
        if report.images_missing:
            facts.notes.append(f"{report.images_missing:,} named images are not on the disk")

    def missing(self, task: Task, lines: Sequence[str]) -> None:
        """Note that a task's data are not there."""
        self._facts[task.key].missing = list(lines)

    def features(self, task: Task, data: TaskData) -> None:
        """Note what the features are."""
        facts, cache = self._facts[task.key], data.cache
        facts.images = len(cache)
        facts.images_failed = cache.samples.num_rows - len(cache)
        facts.fingerprint = cache.fingerprint.digest
        facts.backbone = dict(cache.manifest.backbone)
        facts.extraction_seconds = round(data.extraction_seconds, 1)

    def left_out(self, row: Row, reason: str) -> None:
        """Note why a row is not run."""
        self._left_out[row.key] = reason

    def add(self, task: Task, row: Row, fold: int | None, seed: int, result: CellResult) -> None:
        """Take a finished cell."""
        self._cells[task.key, row.key][fold, seed] = result

    def per_fold(self, task: Task, row: Row, metric: Metric) -> dict[int | None, float]:
        """A metric in every fold that is finished, averaged over seeds."""
        found: dict[int | None, list[float]] = defaultdict(list)
        for (fold, _), cell in self._cells[task.key, row.key].items():
            found[fold].append(cell.measure(metric, task))
        return {fold: float(np.mean(values)) for fold, values in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        recipe = self.recipe
        return {
            "format": 1,
            "recipe": recipe.name,
            "title": recipe.title,
            "source": recipe.source,
            "quick": recipe.quick,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seeds": list(recipe.seeds),
            "reference": recipe.reference,
            "device": self.device,
            "machine": f"{platform.machine()}, {os.cpu_count()} processors",
            "versions": {"python": platform.python_version(), **versions(*PACKAGES)},
            "notes": [*([self.note] if self.note else []), *self._warnings(), *recipe.notes],
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
            for facts in self._facts.values()
            if str(facts.backbone.get("pretrained", "")).startswith("seed:")
        }
        return [
            f"The backbone's weights are random ({name}): these numbers test the machinery and "
            "say nothing of any method."
            for name in sorted(seeded)
        ]

    def _task(self, task: Task) -> dict[str, Any]:
        facts = self._facts[task.key]
        return {
            "key": task.key,
            "title": task.title,
            "split": task.split,
            "folds": list(task.folds),
            "metrics": [
                {
                    "key": metric,
                    "title": METRICS[metric].title,
                    "unit": METRICS[metric].unit,
                    "digits": METRICS[metric].digits,
                    "higher_is_better": METRICS[metric].higher_is_better,
                }
                for metric in task.metrics
            ],
            **vars(facts),
        }

    def _row(self, row: Row) -> dict[str, Any]:
        tasks = self.recipe.tasks
        kind = "printed" if row.method is None else "run"
        if row.key in self._left_out and not any(self._cells[t.key, row.key] for t in tasks):
            kind = "left out"
        return {
            "key": row.key,
            "title": row.title,
            "kind": kind,
            "reason": self._left_out.get(row.key, "") if kind == "left out" else "",
            "settings": None if row.method is None else describe(row.method),
            "tasks": {task.key: self._entry(task, row) for task in tasks},
        }

    def _entry(self, task: Task, row: Row) -> dict[str, Any]:
        cells = self._cells[task.key, row.key]
        return {
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
            "difference": None if printed is None else finite_or_none(mean - printed.mean),
        }

    def _comparison(self, task: Task, metric: Metric, row: Row) -> dict[str, Any] | None:
        """Compare a row with the reference, over the folds and seeds that both have."""
        ours = self._cells[task.key, self.recipe.reference]
        theirs = self._cells[task.key, row.key]
        common = [key for key in theirs if key in ours]
        if row.key == self.recipe.reference or not common:
            return None
        folds = paired_differences(
            {key: theirs[key] for key in common}, {key: ours[key] for key in common}, metric, task
        )
        if folds is None:
            return None
        result = compare(folds)
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


def paired_differences(
    first: Mapping[tuple[int | None, int], CellResult],
    second: Mapping[tuple[int | None, int], CellResult],
    metric: Metric,
    task: Task,
) -> list[FoldDifferences] | None:
    """Differences per image and fold, first less second, averaged over seeds.

    Returns:
        One entry per fold; None for a metric that is no mean over images.
    """
    sums: dict[int | None, list[np.ndarray[Any, Any]]] = defaultdict(list)
    rows: dict[int | None, np.ndarray[Any, Any]] = {}
    for (fold, seed), cell in first.items():
        a, b = cell.per_image(metric, task), second[fold, seed].per_image(metric, task)
        if a is None or b is None:
            return None
        sums[fold].append(a - b)
        rows[fold] = cell.rows
    return [
        FoldDifferences(images=rows[fold], differences=np.mean(values, axis=0))
        for fold, values in sums.items()
    ]

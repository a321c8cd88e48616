"""What the page of a figure is made of, and what a figure is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from adapter.errors import ConfigError
from featcache.storage.tables import ok_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from markupsafe import Markup

    from adapter.methods.method import Array, Rows
    from adapter.pages.page import Table
    from adapter.reproduction.cells import QueryResult
    from adapter.reproduction.data import TaskData
    from adapter.reproduction.results import Results


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A picture with two short texts below it."""

    folder: int
    path: str
    first: str
    second: str = ""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Pictures in an order, the first on the left."""

    title: str
    tiles: Sequence[Tile]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page."""

    title: str
    text: str = ""
    strips: Sequence[Strip] = ()
    plots: Sequence[Markup] = ()
    table: Table | None = None


@dataclass(kw_only=True)
class Pictures:
    """Folders of images, each once, in the order in which they are met."""

    roots: list[Path] = field(default_factory=list)

    def tile(self, data: TaskData, row: int, first: str, second: str = "") -> Tile:
        """Return the picture of a row of a task's cache."""
        path = str(ok_samples(data.source.cache.samples)["path"][int(row)])
        return self.file(data.source.reader.root, path, first, second)

    def file(self, root: Path, path: str, first: str, second: str = "") -> Tile:
        """Return the picture of a path below a folder."""
        if root not in self.roots:
            self.roots.append(root)
        return Tile(folder=self.roots.index(root), path=path, first=first, second=second)


@dataclass(frozen=True, kw_only=True)
class Materials:
    """What a figure is made from.

    Attributes:
        results: Cells of the figure's rows.
        tasks: Its tasks, by key; those whose data are there.
        pictures: Collects what is shown.
        pairs: Two folders with the same names, or None.
        on_progress: Told (images done, images in all).
    """

    results: Results
    tasks: Mapping[str, TaskData]
    pictures: Pictures
    pairs: tuple[Path, Path] | None = None
    on_progress: Callable[[int, int], None] = lambda done, total: None

    def queries(self, task: str, row: str) -> tuple[QueryResult, ...]:
        """Return the predictions of a row, by query.

        Raises:
            ConfigError: The cell is not there: it failed, or its row was left out.
        """
        cell = self.results.cell(task, row)
        if cell is None:
            raise ConfigError(f"no predictions of the row {row!r} on {task!r}: nothing to show")
        return cell.queries

    def test_rows(self, task: str, most: int = 0) -> tuple[TaskData, Rows, Array]:
        """Return a task, and rows and labels of its test part; ``most`` of them, drawn by seed."""
        data = self.tasks[task]
        part = data.parts(data.task.folds[0])[0].test
        rows, values = part.rows, part.values
        if most and len(rows) > most:
            chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:most])
            rows, values = rows[chosen], values[chosen]
        return data, rows, values


def at_equal_steps(order: Rows, count: int) -> Rows:
    """Return at most ``count`` elements of an order, evenly spread, both ends included."""
    if len(order) <= count:
        return order
    return order[np.linspace(0, len(order) - 1, count).round().astype(np.int64)]


def largest(queries: Sequence[QueryResult], most: int) -> list[QueryResult]:
    """Return the queries with the most test images whose label is not zero."""
    return sorted(queries, key=lambda q: -int((q.values != 0).sum()))[:most]


def short(value: float) -> str:
    """Write a score for below a picture."""
    return f"{value:.3g}".replace("-", "−")

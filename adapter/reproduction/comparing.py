"""The difference of two rows of a table, with its interval, for every column that has one."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from adapter.evaluation.paired import (
    Comparison,
    FoldDifferences,
    PairedCorrelation,
    compare,
    compare_correlations,
)
from adapter.reproduction.measures import CORRELATIONS, counted, measure, per_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.methods.method import Array
    from adapter.reproduction.cells import CellResult
    from adapter.reproduction.recipe import Metric, Task


def compare_cells(
    first: Mapping[tuple[int | None, int], CellResult],
    second: Mapping[tuple[int | None, int], CellResult],
    metric: Metric,
    task: Task,
) -> Comparison | None:
    """Compare two rows over folds and test images, first less second.

    Args:
        first: Cells by fold and seed.
        second: Cells of the same folds and seeds.
        metric: The column.
        task: The task.

    Returns:
        The difference; None for a column without an interval, or where the rows were not tested
        on the same images.
    """
    if metric in CORRELATIONS:
        return _correlations(first, second, metric, task)
    folds = paired_differences(first, second, metric, task)
    return None if folds is None else compare(folds)


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
    sums: dict[int | None, list[Array]] = defaultdict(list)
    rows: dict[int | None, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
    for (fold, seed), cell in first.items():
        other = second[fold, seed]
        a, b = per_image(cell, metric, task), per_image(other, metric, task)
        if a is None or b is None or not len(a):
            return None
        query = cell.queries[0]
        if not np.array_equal(query.rows, other.queries[0].rows):
            return None
        sums[fold].append(a - b)
        rows[fold] = query.rows[counted(query, metric, task)]
    return [
        FoldDifferences(images=rows[fold], differences=np.mean(values, axis=0))
        for fold, values in sums.items()
    ]


def _correlations(
    first: Mapping[tuple[int | None, int], CellResult],
    second: Mapping[tuple[int | None, int], CellResult],
    metric: Metric,
    task: Task,
) -> Comparison | None:
    """Compare correlations, which are no means over images."""
    ranked = metric.startswith("srcc")
    folds: dict[int | None, list[PairedCorrelation]] = defaultdict(list)
    for (fold, seed), cell in first.items():
        theirs = {query.query: query for query in second[fold, seed].queries}
        for query in cell.queries:
            other = theirs.get(query.query)
            keep = counted(query, metric, task)
            if other is None or not np.array_equal(query.rows, other.rows) or keep.sum() < 3:
                continue
            values = (query.values[keep], query.predictions[keep], other.predictions[keep])
            if pair := PairedCorrelation.of(query.rows[keep], *values, ranked=ranked):
                folds[fold].append(pair)
    if not folds:
        return None
    shown = [
        np.mean([measure(row[key], metric, task)[0] for key in row]) for row in (first, second)
    ]
    return compare_correlations(list(folds.values()), float(shown[0] - shown[1]))

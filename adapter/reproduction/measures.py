"""Columns of a table from the predictions of a cell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.evaluation import metrics
from adapter.evaluation.long_tail import REGIONS, binary_accuracy, by_region

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter.methods.method import Array
    from adapter.reproduction.cells import CellResult, QueryResult
    from adapter.reproduction.recipe import Metric, Task

CORRELATIONS = {
    "plcc": metrics.plcc,
    "srcc": metrics.srcc,
    "plcc_zeros": metrics.plcc,
    "srcc_zeros": metrics.srcc,
}


def measure(cell: CellResult, metric: Metric, task: Task) -> tuple[float, int]:
    """Compute one number of a cell: the mean over its queries, each with the same weight.

    Returns:
        The number, accuracy in per cent, and over how many queries it is defined; NaN and 0
        where it is for none.
    """
    values = [_of_query(cell, query, metric, task) for query in cell.queries]
    defined = [value for value in values if not math.isnan(value)]
    return (float(np.mean(defined)) if defined else math.nan), len(defined)


def counted(query: QueryResult, metric: Metric, task: Task) -> NDArray[np.bool_]:
    """Mark the images [n] that a column is over: of counts, those from one on or all."""
    if not task.counts or metric.endswith("_zeros"):
        return np.ones(len(query.rows), bool)
    return np.asarray(query.values >= 1, bool)


def estimates(cell: CellResult, query: QueryResult, task: Task) -> Array:
    """Values [n] whose error the MAE is of; see ``Task.classifier_value``."""
    by_class = cell.classifies and task.classifier_value == "argmax"
    return query.classes if by_class else query.predictions


def per_image(cell: CellResult, metric: Metric, task: Task) -> Array | None:
    """A column's parts [n], whose mean it is; None where it has none."""
    if len(cell.queries) > 1:
        return None
    (query,) = cell.queries
    keep = counted(query, metric, task)
    y = query.values[keep]
    if metric == "accuracy":
        return np.where(query.classes[keep] == y, 100.0, 0.0)
    gap = estimates(cell, query, task)[keep] - y
    if metric == "mae":
        return np.asarray(np.abs(gap), np.float64)
    if metric == "mse":
        return np.asarray(gap**2, np.float64)
    return None


def _of_query(cell: CellResult, query: QueryResult, metric: Metric, task: Task) -> float:
    keep = counted(query, metric, task)
    y, p = query.values[keep], query.predictions[keep]
    if metric in CORRELATIONS:
        return CORRELATIONS[metric](y, p)
    if metric == "pairwise":
        return metrics.pairwise_accuracy(y, p)
    if not len(y):
        return math.nan
    value = estimates(cell, query, task)[keep]
    if metric == "accuracy":
        return float(100.0 * (query.classes[keep] == y).mean())
    if metric == "mae":
        return metrics.mae(y, value)
    if metric == "mse":
        return float(((y - value) ** 2).mean())
    if metric == "good":
        return 100.0 * binary_accuracy(y, value, task.threshold or 0.0)
    regions: dict[str, Any] = {f"mse_{region}": region for region in REGIONS}
    return math.nan if query.cuts is None else by_region(y, value, query.cuts)[regions[metric]]

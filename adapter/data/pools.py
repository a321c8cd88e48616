"""Pools: what one query's batches are drawn from, and drawing from it.

Randomness comes from the generator that a function is given and from nothing else.

Within a query every value is equally likely, whatever its frequency: an image whose label has n
images among K distinct values has weight 1/(K n) (the released ``sample_weights_by_class``), and
images are drawn without replacement. Labels with more than ``value_bins`` distinct values, such
as mean opinion scores, are put into that many quantile bins first; bins of equal size make this
close to uniform over images, which is what the released weights amount to there.

Negatives (images with a true count of zero) are added for counting queries only; for an age or a
score there is no zero to add. See :class:`adapter.settings.SamplingConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from adapter.data.labels import matches
from adapter.errors import LabelsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from adapter.data.labels import LabelSelection, QueryLabels
    from adapter.settings import SamplingConfig


@dataclass(frozen=True, kw_only=True)
class QueryPool:
    """What one query's batches are drawn from.

    Attributes:
        labels: The query's own labels.
        weights: float64 [n], probability of each label; sums to 1.
        cumulative: float64 [n], their running sum.
        counting: Whether zeros are added.
        zeros: int64, images for negatives.
        replace: Whether negatives are drawn with replacement (the released way).
    """

    labels: QueryLabels
    weights: NDArray[np.float64]
    cumulative: NDArray[np.float64]
    counting: bool
    zeros: NDArray[np.int64]
    replace: bool

    def label(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what is known of images: values [b] float64, NaN where there is no label."""
        values = np.full(len(rows), np.nan)
        if self.counting:
            values[np.isin(rows, self.zeros, kind="table")] = 0.0
        order = self.order
        at = np.searchsorted(self.labels.rows, rows, sorter=order).clip(max=len(order) - 1)
        at = order[at]
        there = self.labels.rows[at] == rows
        values[there] = self.labels.values[at[there]]
        return values

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The labels by image: int64 [n]."""
        return np.argsort(self.labels.rows, kind="stable")


def make_pool(
    labels: QueryLabels, selection: LabelSelection, config: SamplingConfig
) -> QueryPool | None:
    """Prepare one query; None where it cannot take part (relevance without counts)."""
    values = labels.values
    # Only the task's name tells a count from a rating: both may be whole numbers.
    counts = counting(labels.task, config.counting_tasks)
    if counts and (values.min() < 0 or not np.array_equal(values, np.round(values))):
        bad = values[(values < 0) | (values != np.round(values))][0]
        raise LabelsError(
            f"task {labels.task!r} counts, but query {labels.query!r} has the value {bad:g}; "
            "counts are whole numbers from zero on. If this task does not count, leave it out "
            "of counting_tasks"
        )
    if config.relevance and not counts:
        return None
    adds_zeros = counts and config.negative_ratio > 0
    zeros = np.empty(0, np.int64)
    if adds_zeros:
        if config.false_negatives == "released":
            zeros = selection.task_rows[labels.task]
        elif labels.task in selection.states_zeros:
            zeros = labels.rows[values == 0]
        else:
            images = selection.task_images[labels.task]
            zeros = images[~np.isin(images, labels.containing, kind="table")]
        keep = values > 0  # zeros come at their own ratio
        labels = replace(labels, rows=labels.rows[keep], values=values[keep])
    if config.balance == "values":
        weights = balanced_weights(labels.values, config.value_bins)
    else:
        weights = np.full(len(labels.rows), 1.0 / max(len(labels.rows), 1))
    return QueryPool(
        labels=labels,
        weights=weights,
        cumulative=np.cumsum(weights),
        counting=adds_zeros,
        zeros=zeros,
        replace=config.false_negatives == "released",
    )


def counting(task: str, patterns: Sequence[str]) -> bool:
    """Tell whether a task counts, by the shell patterns of ``counting_tasks``."""
    return bool(patterns) and matches(task, patterns)


def balanced_weights(values: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Weight labels by 1/(K n): every distinct value, or quantile bin, has the same mass.

    Args:
        values: Labels, [n].
        bins: With more distinct values than this, quantile bins stand for values.

    Returns:
        float64 [n], sums to 1.
    """
    distinct, group = np.unique(values, return_inverse=True)
    if len(distinct) > bins:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
        group = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)[1]
    sizes = np.bincount(group)
    return 1.0 / (len(sizes) * sizes[group])


def draw(
    pool: QueryPool, config: SamplingConfig, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw rows [b] and values [b] of one batch, shuffled; b is at most the batch size."""
    size, labeled = config.batch_size, len(pool.labels.rows)
    positives = min(size, labeled)
    if pool.counting and len(pool.zeros):
        positives = min(int(size * (1 - config.negative_ratio)), labeled)
        available = size if pool.replace else len(pool.zeros)
        positives = min(labeled, max(positives, size - available))
    chosen = weighted_choice(pool.weights, pool.cumulative, positives, generator)
    rows, values = pool.labels.rows[chosen], pool.labels.values[chosen]
    missing = size - positives if pool.counting else 0
    if missing and len(pool.zeros):
        if pool.replace:
            others = pool.zeros[~np.isin(pool.zeros, rows)]
            others = others if len(others) else pool.zeros
            zeros = others[integers(generator, len(others), missing)]
        else:
            zeros = pool.zeros[uniform_choice(len(pool.zeros), missing, generator)]
        rows = np.concatenate([rows, zeros])
        values = np.concatenate([values, np.zeros(len(zeros))])
    # Each process takes a slice of the batch; shuffled, every slice sees positives and zeros.
    order = np.argsort(generator.random(len(rows)), kind="stable")
    return rows[order], values[order]


def weighted_choice(
    weights: NDArray[np.float64],
    cumulative: NDArray[np.float64],
    count: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw indices without replacement, each next one with probability in proportion to weight.

    Where few of many are wanted, indices are drawn with replacement by bisection and repeated
    ones dropped, which is the same distribution in O(count log n). Where most are wanted, that
    would repeat too often: then the smallest ``count`` of independent exponential times with
    rates ``weights`` are taken (Efraimidis and Spirakis, 2006), in O(n).

    Args:
        weights: float64 [n], positive.
        cumulative: ``np.cumsum(weights)``.
        count: How many; all n when there are no more.
        generator: Source of uniform numbers.

    Returns:
        int64 [min(count, n)].
    """
    n = len(weights)
    if count * 8 > n:
        times = -np.log1p(-generator.random(n)) / weights
        return np.argsort(times, kind="stable")[:count]

    def draw(m: int) -> NDArray[np.int64]:
        points = generator.random(m) * cumulative[-1]
        at: NDArray[np.int64] = np.searchsorted(cumulative, points, side="right")
        return at.clip(max=n - 1)  # rounding may reach the end of the last interval

    return _first_distinct(draw, count)


def uniform_choice(n: int, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw min(count, n) of n indices without replacement, all equally likely."""
    if count * 8 > n:
        return np.argsort(generator.random(n), kind="stable")[:count]
    return _first_distinct(lambda m: integers(generator, n, m), count)


def _first_distinct(draw: Callable[[int], NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    """Repeat draws until ``count`` different indices have come, in the order of their coming."""
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        chosen.update(dict.fromkeys(draw(count).tolist()))
    return np.array(list(chosen)[:count], np.int64)


def integers(generator: np.random.Generator, high: int, count: int) -> NDArray[np.int64]:
    """Draw integers below ``high`` from plain uniform numbers.

    NumPy may change how ``integers`` and ``choice`` use the stream from version to version.
    """
    return (generator.random(count) * high).astype(np.int64)

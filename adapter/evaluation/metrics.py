"""Agreement of predictions with labels: per query, then averaged over queries.

Every function takes labels ``y`` and predictions ``p``, both [n], and returns a float: NaN where
the quantity is not defined (fewer than two images, a constant side), never a warning. Averages
leave NaN out and say how many queries they are over, unlike the released
``learn_to_compare/utils.py``, where one constant query makes the mean NaN.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

Array = NDArray[np.float64]
Name = TypeVar("Name", bound="Hashable")


def plcc(y: Array, p: Array) -> float:
    """Pearson's linear correlation on raw predictions, without a logistic fit."""
    if _undefined(y, p):
        return math.nan
    a, b = y - y.mean(), p - p.mean()
    # Scaling by the largest entry keeps squares of huge or tiny values in range.
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    return float(np.clip((a @ b) / math.sqrt((a @ a) * (b @ b)), -1.0, 1.0))


def srcc(y: Array, p: Array) -> float:
    """Spearman's rank correlation; ties get their mean rank."""
    if _undefined(y, p):
        return math.nan
    return plcc(stats.rankdata(y), stats.rankdata(p))


def srcc_ceiling(y: Array) -> float:
    """Largest SRCC with labels ``y`` that predictions without ties can have.

    Equal labels share their mean rank, which no order of different predictions does. With groups
    of t equal labels among n, the best order reaches sqrt(1 - sum(t^3 - t) / (n^3 - n)).
    """
    groups = np.unique(y, return_counts=True)[1].astype(np.float64)
    n = float(len(y))
    if len(groups) < 2:
        return math.nan
    return math.sqrt(1.0 - float((groups**3 - groups).sum()) / (n**3 - n))


def kendall(y: Array, p: Array) -> float:
    """Kendall's tau-b."""
    if _undefined(y, p):
        return math.nan
    return float(stats.kendalltau(y, p, variant="b").statistic)


def pairwise_accuracy(y: Array, p: Array) -> float:
    """Share of pairs with different labels that the predictions put in the same order.

    Pairs with equal labels have no order and are left out; a pair with different labels and
    equal predictions counts one half, as a coin would. Computed from tau-b in O(n log n): with C
    concordant and D discordant pairs of U untied in y, the share is (1 + (C - D) / U) / 2.
    (The released code counts the diagonal as correct and ties as "at least".)
    """
    untied_y = _untied_pairs(y)
    if untied_y == 0:
        return math.nan
    untied_p = _untied_pairs(p)
    if untied_p == 0:
        return 0.5
    surplus = kendall(y, p) * math.sqrt(untied_y) * math.sqrt(untied_p)  # C - D
    return float(np.clip(0.5 * (1.0 + surplus / untied_y), 0.0, 1.0))


def mae(y: Array, p: Array) -> float:
    """Mean absolute error, in the labels' unit."""
    return float(np.abs(y - p).mean()) if len(y) else math.nan


def accuracy(y: Array, p: Array, label_range: tuple[float, float] | None = None) -> float:
    """Share of predictions that, rounded half to even and clipped, equal the label.

    Args:
        y: Labels; NaN is returned unless all of them are whole numbers.
        p: Predictions.
        label_range: Smallest and largest label that exist; those of ``y`` when left out.
    """
    if len(y) == 0 or not np.array_equal(y, np.round(y)):
        return math.nan
    low, high = label_range if label_range is not None else (float(y.min()), float(y.max()))
    return float((np.clip(np.round(p), low, high) == y).mean())


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """All metrics of one query, or averages over queries.

    ``mae`` and ``accuracy`` are NaN for predictions that are not in the labels' unit, such as a
    ranking by comparison.
    """

    plcc: float
    srcc: float
    kendall: float
    mae: float
    accuracy: float
    pairwise: float

    def to_dict(self) -> dict[str, float | None]:
        """Return JSON values; NaN becomes null."""
        return {name: finite_or_none(value) for name, value in asdict(self).items()}


CORRELATIONS = ("plcc", "srcc", "kendall")
METRIC_NAMES: tuple[str, ...] = tuple(f.name for f in fields(Metrics))


@dataclass(frozen=True, kw_only=True)
class Average:
    """Unweighted means over queries.

    Attributes:
        mean: Per metric, the mean over the queries where it is defined.
        queries: Per metric, how many those are.
    """

    mean: Metrics
    queries: Mapping[str, int]

    def to_dict(self) -> dict[str, object]:
        """Return JSON values."""
        return {"mean": self.mean.to_dict(), "queries": dict(self.queries)}


def measure(
    y: Array, p: Array, *, label_range: tuple[float, float] | None = None, in_units: bool = True
) -> Metrics:
    """Compute every metric of one query.

    Args:
        y: Labels, [n].
        p: Predictions, [n].
        label_range: See :func:`accuracy`.
        in_units: Whether predictions are in the labels' unit, so that errors have a meaning.
    """
    y, p = np.asarray(y, np.float64), np.asarray(p, np.float64)
    return Metrics(
        plcc=plcc(y, p),
        srcc=srcc(y, p),
        kendall=kendall(y, p),
        mae=mae(y, p) if in_units else math.nan,
        accuracy=accuracy(y, p, label_range) if in_units else math.nan,
        pairwise=pairwise_accuracy(y, p),
    )


def average(metrics: Iterable[Metrics]) -> Average:
    """Average over queries, each with the same weight, leaving undefined values out."""
    rows = list(metrics)
    means: dict[str, float] = {}
    counts: dict[str, int] = {}
    for name in METRIC_NAMES:
        values = [v for v in (getattr(m, name) for m in rows) if not math.isnan(v)]
        means[name] = float(np.mean(values)) if values else math.nan
        counts[name] = len(values)
    return Average(mean=Metrics(**means), queries=counts)


def average_together(queries: Sequence[Mapping[Name, Metrics]]) -> dict[Name, Average]:
    """Average what stands side by side, such as methods or runs, over one set of queries.

    For each metric, that set is the queries where the metric is defined for everyone who has it
    at all. (A ranking by comparison never has an error in the labels' unit; it takes no query
    from the others.)

    Args:
        queries: Per query, name to metrics; every query has the same names.

    Returns:
        Name to average.
    """
    names = list(dict.fromkeys(name for query in queries for name in query))
    if not names:
        return {}
    means: dict[Name, dict[str, float]] = {name: {} for name in names}
    counts: dict[str, int] = {}
    for metric in METRIC_NAMES:
        table = np.array([[getattr(query[name], metric) for name in names] for query in queries])
        having = ~np.isnan(table).all(axis=0)  # [names]
        shared = ~np.isnan(table[:, having]).any(axis=1) & having.any()  # [queries]
        counts[metric] = int(shared.sum())
        for number, name in enumerate(names):
            values = table[shared, number]
            defined = bool(having[number]) and len(values) > 0
            means[name][metric] = float(np.mean(values)) if defined else math.nan
    return {
        name: Average(
            mean=Metrics(**means[name]),
            queries={m: 0 if math.isnan(means[name][m]) else counts[m] for m in METRIC_NAMES},
        )
        for name in names
    }


def mean_and_spread(values: Iterable[float]) -> tuple[float, float, int]:
    """Return mean, sample standard deviation and number of the values that are not NaN.

    The spread of fewer than two values is NaN.
    """
    kept = np.array([v for v in values if not math.isnan(v)])
    mean = float(kept.mean()) if len(kept) else math.nan
    spread = float(kept.std(ddof=1)) if len(kept) > 1 else math.nan
    return mean, spread, len(kept)


def finite_or_none(value: float) -> float | None:
    """Map NaN and infinities to None: JSON has neither."""
    return value if math.isfinite(value) else None


def _undefined(y: Array, p: Array) -> bool:
    """Tell whether a correlation has no value: too few images, or one side constant."""
    finite = bool(np.isfinite(y).all() and np.isfinite(p).all())
    return len(y) < 2 or not finite or np.ptp(y) == 0 or np.ptp(p) == 0


def _untied_pairs(values: Array) -> int:
    """Count pairs of different values, exactly, in O(n log n)."""
    if not np.isfinite(values).all():
        return 0
    counts = np.unique(values, return_counts=True)[1].astype(object)  # no overflow for large n
    n = len(values)
    return int(n * (n - 1) // 2 - sum(c * (c - 1) // 2 for c in counts))

"""Is one method better than another, or is that noise? Paired comparison over folds and images.

Two methods that were tested on the same images of the same folds differ, per image, by the
difference of their errors. Images vary, and so do folds (training sets, and people or photographs
in the test set). Where splits are repeated, one image is in the test part of several folds, so
differences are not independent. The pigeonhole bootstrap draws folds and images, each with
replacement and independently of each other, and weighs a difference by the product of both
counts; it is valid, and a little conservative, for crossed and for nested samples.

Correlations are no means over images, so they are computed anew from every resample. Ranks are
those of the whole test part: SRCC is then Pearson's correlation of fixed ranks, which is exact but
for the ties that a resample makes.

Source: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from adapter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array = NDArray[np.float64]

RESAMPLES = 2000
CORRELATION_RESAMPLES = 500  # each has a correlation per query
BLOCK = 100  # resamples at a time; bounds memory to 100 counts per image


@dataclass(frozen=True, kw_only=True)
class FoldDifferences:
    """Differences in one fold.

    Attributes:
        images: int64 [n], which image each difference is of.
        differences: float64 [n], a quantity of one method less that of another.
    """

    images: NDArray[np.int64]
    differences: Array


@dataclass(frozen=True, kw_only=True)
class PairedCorrelation:
    """What two methods say about the same images of one query.

    Attributes:
        images: int64 [n].
        labels: float64 [n], or their ranks.
        a: float64 [n], predictions of one method, or their ranks.
        b: float64 [n], of the other.
    """

    images: NDArray[np.int64]
    labels: Array
    a: Array
    b: Array

    @classmethod
    def of(
        cls, images: NDArray[np.int64], labels: Array, a: Array, b: Array, *, ranked: bool
    ) -> Self | None:
        """Pair two predictions, as they are or by their ranks; None where one has no correlation.

        Args:
            images: int64 [n].
            labels: float64 [n].
            a: float64 [n].
            b: float64 [n].
            ranked: Take ranks, for SRCC.
        """
        values = (labels, a, b)
        if any(np.ptp(v) == 0 or not np.isfinite(v).all() for v in values):
            return None
        y, first, second = (rankdata(v) for v in values) if ranked else values
        return cls(images=images, labels=y, a=first, b=second)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A mean difference with its interval.

    Attributes:
        difference: Mean over folds of the mean over the fold's images.
        low: Lower end of the interval.
        high: Upper end.
        folds: Number of folds.
        images: Number of different images.
    """

    difference: float
    low: float
    high: float
    folds: int
    images: int

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds zero."""
        return self.low <= 0 <= self.high


def compare(
    folds: Sequence[FoldDifferences],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Estimate a mean difference and its percentile bootstrap interval.

    With one fold only images are drawn, and the interval knows nothing of the spread over folds.

    Args:
        folds: Differences of every fold.
        level: Coverage of the interval, between 0 and 1.
        resamples: How many times folds and images are drawn.
        seed: Of the draws; one seed gives one interval.

    Raises:
        ConfigError: There is no fold, an empty one, or the level is impossible.
    """
    if not folds or any(len(f.images) == 0 for f in folds):
        raise ConfigError("a comparison needs at least one fold, and images in each")
    if not 0 < level < 1:
        raise ConfigError(f"level must be between 0 and 1, not {level}")
    names = np.unique(np.concatenate([f.images for f in folds]))
    places = [np.searchsorted(names, f.images) for f in folds]

    def means(images: Array) -> Array:
        sums = np.stack(
            [images[:, p] @ f.differences for p, f in zip(places, folds, strict=True)], axis=1
        )  # [R, F]
        totals = np.stack([images[:, p].sum(axis=1) for p in places], axis=1)  # [R, F]
        with np.errstate(invalid="ignore"):
            return np.where(totals > 0, sums / totals, np.nan)

    low, high = _interval(means, len(names), len(folds), level, resamples, seed)
    return Comparison(
        difference=float(np.mean([f.differences.mean() for f in folds])),
        low=low,
        high=high,
        folds=len(folds),
        images=len(names),
    )


def compare_correlations(
    folds: Sequence[Sequence[PairedCorrelation]],
    difference: float,
    *,
    level: float = 0.95,
    resamples: int = CORRELATION_RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Estimate the interval of a difference of mean correlations.

    Args:
        folds: Per fold, one entry per query.
        difference: The difference itself, over all images.
        level: Coverage of the interval, between 0 and 1.
        resamples: How many times folds and images are drawn.
        seed: Of the draws; one seed gives one interval.
    """
    names = np.unique(np.concatenate([q.images for queries in folds for q in queries]))
    low, high = _interval(
        lambda images: np.stack([_mean_gap(images, names, queries) for queries in folds], axis=1),
        len(names),
        len(folds),
        level,
        resamples,
        seed,
    )
    return Comparison(
        difference=difference, low=low, high=high, folds=len(folds), images=len(names)
    )


def _interval(
    means: Callable[[Array], Array],
    images: int,
    folds: int,
    level: float,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """Draw images and folds, and return both ends of the percentile interval.

    Args:
        means: From how often each image was drawn, [R, N], the mean of each fold, [R, F]; NaN
            where the images that were drawn say nothing of a fold.
        images: How many there are.
        folds: How many there are.
        level: Coverage of the interval.
        resamples: How many times folds and images are drawn.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    parts = []
    for start in range(0, resamples, BLOCK):
        count = min(BLOCK, resamples - start)
        drawn = _counts(generator, images, count)  # [R, N]
        chosen = _counts(generator, folds, count)  # [R, F]
        found = means(drawn)  # [R, F]
        weights = np.where(np.isnan(found), 0.0, chosen)
        total = weights.sum(axis=1)
        kept = total > 0  # a resample without a single image has nothing to say
        parts.append((np.nan_to_num(found) * weights).sum(axis=1)[kept] / total[kept])
    low, high = np.quantile(np.concatenate(parts), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _mean_gap(
    images: Array, names: NDArray[np.int64], queries: Sequence[PairedCorrelation]
) -> Array:
    """Return the mean over queries of the difference of two correlations, [R]; NaN for none."""
    gaps = []
    for query in queries:
        weights = images[:, np.searchsorted(names, query.images)]  # [R, n]
        gaps.append(
            _weighted_pearson(weights, query.labels, query.a)
            - _weighted_pearson(weights, query.labels, query.b)
        )
    table = np.stack(gaps, axis=1)  # [R, Q]
    defined = ~np.isnan(table)
    counts = defined.sum(axis=1)
    sums = np.where(defined, table, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _weighted_pearson(weights: Array, y: Array, p: Array) -> Array:
    """Pearson's correlation of y and p [n] under each row of weights [R, n]: [R]."""
    y, p = (y - y.mean()) / y.std(), (p - p.mean()) / p.std()
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_y, mean_p = weights @ y / total, weights @ p / total
        spread_y = weights @ (y * y) / total - mean_y**2
        spread_p = weights @ (p * p) / total - mean_p**2
        found = (weights @ (y * p) / total - mean_y * mean_p) / np.sqrt(spread_y * spread_p)
    return np.where((spread_y > 1e-12) & (spread_p > 1e-12), found, np.nan)


def _counts(generator: np.random.Generator, size: int, resamples: int) -> Array:
    """How often each of ``size`` things is drawn in ``size`` draws: float64 [R, size]."""
    return generator.multinomial(size, np.full(size, 1 / size), resamples).astype(np.float64)

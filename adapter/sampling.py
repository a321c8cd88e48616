"""Batches as a function: batch k of a run depends on (seed, k) and on nothing else.

Each batch has its own counter-based generator (Philox, keyed by the pair), which draws the data
set, the query, the images, the negatives and the views. So a run can stop anywhere and go on with
the same batches, the number of processes can change while the global batch does not, and no
worker holds hidden state.

Within a query every value is equally likely, whatever its frequency: an image whose label has n
images among K distinct values has weight 1/(K n) (the released ``sample_weights_by_class``), and
images are drawn without replacement. Labels with more than ``value_bins`` distinct values, such
as mean opinion scores, are put into that many quantile bins first; bins of equal size make this
close to uniform over images, which is what the released weights amount to there.

Negatives (images with a true count of zero) are added for counting queries only; for an age or a
score there is no zero to add. See :class:`SamplingConfig`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from adapter.errors import ConfigError, LabelsError
from adapter.labels import LabelSelection, QueryLabels, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from adapter.labels import FeatureCache


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How batches are drawn.

    Attributes:
        batch_size: Images per batch over all processes; fewer where a query has fewer.
        balance: ``values`` gives every value of a query the same probability, ``none`` every
            image.
        value_bins: Labels with more distinct values than this are balanced over quantile bins.
        negative_ratio: Share of a counting query's batch that has a true count of zero. Other
            queries never get negatives. With 0, the labels of the query are drawn as they are.
        counting_tasks: Shell patterns of the tasks whose labels are counts.
        false_negatives: ``excluded`` takes as negatives only images known to lack the category:
            those labelled zero or, in a task without any zero, those labelled for its other
            queries only. ``released`` takes any other label row of the task, with replacement
            and with target zero even if its image holds the category, as the released
            ``CsvDataset`` does.
        weights: Probability of each data set, up to a factor; empty means equal.
        views: Names of the views to draw from; empty means all that the cache holds.
        relevance: Train on "relevance to a count" (the paper's B.1): per batch a reference r in
            0 … ``relevance_max`` is drawn, the prompt says so, and the target is |y - r|.
        relevance_max: Largest reference count.
    """

    batch_size: int = 64
    balance: Literal["values", "none"] = "values"
    value_bins: int = 32
    negative_ratio: float = 0.2
    counting_tasks: tuple[str, ...] = ("count", "count-*", "counting")
    false_negatives: Literal["excluded", "released"] = "excluded"
    weights: tuple[float, ...] = ()
    views: tuple[str, ...] = ()
    relevance: bool = False
    relevance_max: int = 12

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.value_bins < 1:
            raise ConfigError(f"value_bins must be at least 1, not {self.value_bins}")
        if self.balance not in ("values", "none"):
            raise ConfigError(f"balance must be values or none, not {self.balance!r}")
        if not 0 <= self.negative_ratio < 1:
            raise ConfigError(f"negative_ratio must be in [0, 1), not {self.negative_ratio}")
        if self.false_negatives not in ("excluded", "released"):
            raise ConfigError(
                f"false_negatives must be excluded or released, not {self.false_negatives!r}"
            )
        if any(not (math.isfinite(w) and w >= 0) for w in self.weights) or (
            self.weights and sum(self.weights) == 0
        ):
            raise ConfigError(f"weights must be positive numbers, not {self.weights}")
        if self.relevance_max < 0:
            raise ConfigError(f"relevance_max must not be negative, not {self.relevance_max}")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch, before its features are gathered.

    Attributes:
        step: k.
        shard: Which cache.
        task: The query's task.
        query: The query as the labels name it.
        prompt: What the text tower was given; differs from ``query`` for relevance.
        rows: int64 [b], images, in an order without meaning.
        views: int64 [b], index of the view of each image.
        values: float64 [b], targets in the data set's unit.
    """

    step: int
    shard: int
    task: str
    query: str
    prompt: str
    rows: NDArray[np.int64]
    views: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)


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


class Sampler:
    """Draws batches from the selections of one or several caches.

    Args:
        selections: One per cache.
        views: Per cache, the names of its stored views.
        config: How to draw.
        seed: Seed of the run.

    Raises:
        ConfigError: Weights or views do not fit the caches.
        LabelsError: Relevance was asked for without a counting query.
    """

    def __init__(
        self,
        selections: Sequence[LabelSelection],
        views: Sequence[Sequence[str]],
        config: SamplingConfig,
        seed: int,
    ) -> None:
        self.config = config
        self.seed = seed
        if config.weights and len(config.weights) != len(selections):
            raise ConfigError(
                f"{len(config.weights)} weights for {len(selections)} caches; give one for each"
            )
        weights = np.array(config.weights or [1.0] * len(selections))
        self._shard_cdf = np.cumsum(weights / weights.sum())
        self._views = [_view_indices(names, config.views) for names in views]
        self.pools = [
            [pool for q in s.queries if (pool := make_pool(q, s, config)) is not None]
            for s in selections
        ]
        if not all(self.pools):
            raise LabelsError("training on relevance needs counting queries in every cache")

    def batch(self, step: int) -> Batch:
        """Draw batch ``step``."""
        key = np.array([self.seed, step], np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key))
        shard = min(
            int(np.searchsorted(self._shard_cdf, generator.random(), side="right")),
            len(self.pools) - 1,
        )
        pool = self.pools[shard][_integer(generator, len(self.pools[shard]))]
        rows, values = draw(pool, self.config, generator)
        prompt = pool.labels.query
        if self.config.relevance:
            reference = _integer(generator, self.config.relevance_max + 1)
            prompt = relevance_prompt(prompt, reference)
            values = np.abs(values - reference)
        views = self._views[shard][_integers(generator, len(self._views[shard]), len(rows))]
        return Batch(
            step=step,
            shard=shard,
            task=pool.labels.task,
            query=pool.labels.query,
            prompt=prompt,
            rows=rows,
            views=views,
            values=values,
        )

    def image_rows(self, shard: int) -> NDArray[np.int64]:
        """Every image of a cache that some batch may hold, sorted."""
        parts = [part for p in self.pools[shard] for part in (p.labels.rows, p.zeros)]
        return np.unique(np.concatenate(parts))

    def view_indices(self, shard: int) -> NDArray[np.int64]:
        """The views of a cache that batches draw from."""
        return self._views[shard]

    def prompts(self, shard: int) -> list[str]:
        """Every prompt that some batch of a cache may use."""
        queries = [pool.labels.query for pool in self.pools[shard]]
        if not self.config.relevance:
            return list(dict.fromkeys(queries))
        references = range(self.config.relevance_max + 1)
        return [relevance_prompt(q, r) for q in dict.fromkeys(queries) for r in references]


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
    size, own = config.batch_size, len(pool.labels.rows)
    positives = min(size, own)
    if pool.counting and len(pool.zeros):
        positives = min(int(size * (1 - config.negative_ratio)), own)
        available = size if pool.replace else len(pool.zeros)
        positives = min(own, max(positives, size - available))
    chosen = weighted_choice(pool.weights, pool.cumulative, positives, generator)
    rows, values = pool.labels.rows[chosen], pool.labels.values[chosen]
    missing = size - positives if pool.counting else 0
    if missing and len(pool.zeros):
        if pool.replace:
            others = pool.zeros[~np.isin(pool.zeros, rows)]
            others = others if len(others) else pool.zeros
            zeros = others[_integers(generator, len(others), missing)]
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
    return _first_distinct(lambda m: _integers(generator, n, m), count)


def _first_distinct(draw: Callable[[int], NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    """Repeat draws until ``count`` different indices have come, in the order of their coming."""
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        chosen.update(dict.fromkeys(draw(count).tolist()))
    return np.array(list(chosen)[:count], np.int64)


def counting(task: str, patterns: Sequence[str]) -> bool:
    """Tell whether a task counts, by the shell patterns of ``counting_tasks``."""
    return bool(patterns) and matches(task, patterns)


def relevant_labels(labels: QueryLabels, reference: int) -> QueryLabels:
    """Turn counts into distances to a reference count; a low value then means relevant."""
    return replace(
        labels,
        query=relevance_prompt(labels.query, reference),
        values=np.abs(labels.values - reference),
    )


def relevance_prompt(query: str, reference: int) -> str:
    """Word a query as relevance to a reference count (the paper's B.1)."""
    return f"{query.replace('.', '')} by the relevance count to {reference}."


def require_prompts(cache: FeatureCache, prompts: Sequence[str], where: str) -> None:
    """Refuse prompts that a cache has no tokens for, naming them and the command to add them.

    Raises:
        LabelsError: Some prompt is missing.
    """
    missing = []
    for prompt in prompts:
        try:
            cache.prompt(prompt)
        except KeyError:
            missing.append(prompt)
    if missing:
        shown = "\n".join(f"  {p!r}" for p in missing[:10])
        more = f"\n  … and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise LabelsError(
            f"{where} has no tokens for {len(missing)} of {len(prompts)} prompts:\n{shown}{more}\n"
            f'Add them: featcache prompts {where} --add "{missing[0]}"'
            + (" --add …" if len(missing) > 1 else "")
        )


def _view_indices(stored: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Map names of views to indices."""
    unknown = [name for name in wanted if name not in stored]
    if unknown:
        raise ConfigError(
            f"no view {', '.join(unknown)} in the cache; it holds {', '.join(stored)}"
        )
    return np.array([list(stored).index(name) for name in (wanted or stored)], np.int64)


def _integer(generator: np.random.Generator, high: int) -> int:
    """Draw one integer below ``high``."""
    return int(_integers(generator, high, 1)[0])


def _integers(generator: np.random.Generator, high: int, count: int) -> NDArray[np.int64]:
    """Draw integers below ``high`` from plain uniform numbers.

    NumPy may change how ``integers`` and ``choice`` use the stream from version to version.
    """
    return (generator.random(count) * high).astype(np.int64)

"""Batches as a function: batch k of a run depends on (seed, k) and on nothing else.

Each batch has its own counter-based generator (Philox, keyed by the pair), which draws the data
set, the query, the images, the negatives and the views. So a run can stop anywhere and go on with
the same batches, the number of processes can change while the global batch does not, and no
worker holds hidden state.

How the images of one query are drawn is in :mod:`adapter.data.pools`. A batch may hold comparisons
in place of labels: pairs of images that a question was answered for.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from adapter.data.comparisons import TASK, ComparisonSelection
from adapter.data.pools import draw, integers, make_pool, uniform_choice
from adapter.errors import ConfigError, LabelsError
from adapter.names import choose_names
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adapter.data.comparisons import Comparisons
    from adapter.data.labels import FeatureCache, LabelSelection, QueryLabels
    from adapter.settings import SamplingConfig


@dataclass(frozen=True, kw_only=True)
class SharedQuery:
    """A query that labels the images of a batch.

    Attributes:
        task: Its task.
        query: The prompt.
        values: float64 [b], targets in the data set's unit; NaN where the query has no label.
    """

    task: str
    query: str
    values: NDArray[np.float64]


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
        values: float64 [b], targets in the data set's unit. NaN where there is no label, which
            happens only where there are ``others``.
        others: More queries that label the same images.
        compared: The batch holds b / 2 comparisons: image i was compared with image i + b / 2,
            and ``values`` are their shares of the answers: 1 for the chosen one, 0 for the other,
            1/2 for both where they are equal.
    """

    step: int
    shard: int
    task: str
    query: str
    prompt: str
    rows: NDArray[np.int64]
    views: NDArray[np.int64]
    values: NDArray[np.float64]
    others: tuple[SharedQuery, ...] = ()
    compared: bool = False

    @property
    def labeled(self) -> tuple[SharedQuery, ...]:
        """Every query that labels the images."""
        return (SharedQuery(task=self.task, query=self.query, values=self.values), *self.others)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)


class Sampler:
    """Draws batches from the selections of one or several caches.

    Args:
        selections: One per cache.
        views: Per cache, the names of its stored views.
        config: How to draw.
        seed: Seed of the run.
        comparisons: One per cache; none when left out.

    Raises:
        ConfigError: Weights or views do not fit the caches.
        LabelsError: A cache has nothing to train on; relevance was asked for without a counting
            query.
    """

    def __init__(
        self,
        selections: Sequence[LabelSelection],
        views: Sequence[Sequence[str]],
        config: SamplingConfig,
        seed: int,
        comparisons: Sequence[ComparisonSelection] = (),
    ) -> None:
        self.config = config
        self.seed = seed
        if config.weights and len(config.weights) != len(selections):
            raise ConfigError(
                f"{quantity(len(config.weights), 'weight')} for "
                f"{quantity(len(selections), 'cache')}; give one for each"
            )
        weights = np.array(config.weights or [1.0] * len(selections))
        self._shard_cdf = np.cumsum(weights / weights.sum())
        self._views = [_view_indices(names, config.views) for names in views]
        self.pools = [
            [pool for q in s.queries if (pool := make_pool(q, s, config)) is not None]
            for s in selections
        ]
        self.comparisons = list(comparisons) or [ComparisonSelection()] * len(selections)
        if not all(p or len(c) for p, c in zip(self.pools, self.comparisons, strict=True)):
            if config.relevance:
                raise LabelsError("training on relevance needs counting queries in every cache")
            raise LabelsError("every cache needs labels, or comparisons of its images")

    def batch(self, step: int) -> Batch:
        """Draw batch ``step``."""
        key = np.array([self.seed, step], np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key))
        shard = min(
            int(np.searchsorted(self._shard_cdf, generator.random(), side="right")),
            len(self.pools) - 1,
        )
        if self._compares(shard, generator):
            return self._compared(step, shard, generator)
        if self.config.queries_per_batch > 1 and len(self.pools[shard]) > 1:
            return self._shared(step, shard, generator)
        pool = self.pools[shard][_integer(generator, len(self.pools[shard]))]
        rows, values = draw(pool, self.config, generator)
        prompt = pool.labels.query
        if self.config.relevance:
            reference = _integer(generator, self.config.relevance_max + 1)
            prompt = relevance_prompt(prompt, reference)
            values = np.abs(values - reference)
        views = self._views[shard][integers(generator, len(self._views[shard]), len(rows))]
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

    def _shared(self, step: int, shard: int, generator: np.random.Generator) -> Batch:
        """Draw several queries, images of each in turn, and label all images by all queries."""
        pools = self.pools[shard]
        chosen = uniform_choice(len(pools), self.config.queries_per_batch, generator)
        drawn = [draw(pools[k], self.config, generator)[0] for k in chosen]
        # One image of the first query, one of the second, …: each query has its share.
        turns = [row for turn in zip_longest(*drawn) for row in turn if row is not None]
        distinct = list(dict.fromkeys(turns))
        rows = np.array(distinct[: self.config.batch_size], np.int64)
        rows = rows[np.argsort(generator.random(len(rows)), kind="stable")]
        first, *others = [
            SharedQuery(
                task=pools[k].labels.task, query=pools[k].labels.query, values=pools[k].label(rows)
            )
            for k in chosen
        ]
        return Batch(
            step=step,
            shard=shard,
            task=first.task,
            query=first.query,
            prompt=first.query,
            rows=rows,
            views=self._views[shard][integers(generator, len(self._views[shard]), len(rows))],
            values=first.values,
            others=tuple(others),
        )

    def _compares(self, shard: int, generator: np.random.Generator) -> bool:
        """Choose between labels and comparisons; nothing is drawn where there is one of them."""
        asked = self.comparisons[shard].questions
        if not (asked and self.pools[shard]):
            return bool(asked)
        return float(generator.random()) < self.config.comparison_share

    def _compared(self, step: int, shard: int, generator: np.random.Generator) -> Batch:
        """Draw a question, then answers to it without replacement, all equally likely."""
        questions = self.comparisons[shard].questions
        asked = questions[_integer(generator, len(questions))]
        count = max(self.config.batch_size // 2, 1)
        drawn: Comparisons = asked.take(uniform_choice(len(asked), count, generator))
        rows = np.concatenate([drawn.left, drawn.right])
        return Batch(
            step=step,
            shard=shard,
            task=TASK,
            query=asked.question,
            prompt=asked.question,
            rows=rows,
            views=self._views[shard][integers(generator, len(self._views[shard]), len(rows))],
            values=np.concatenate([drawn.shares, 1 - drawn.shares]),
            compared=True,
        )

    def image_rows(self, shard: int) -> NDArray[np.int64]:
        """Every image of a cache that some batch may hold, sorted."""
        parts = [part for p in self.pools[shard] for part in (p.labels.rows, p.zeros)]
        return np.unique(np.concatenate([*parts, self.comparisons[shard].image_rows]))

    def view_indices(self, shard: int) -> NDArray[np.int64]:
        """The views of a cache that batches draw from."""
        return self._views[shard]

    def prompts(self, shard: int) -> list[str]:
        """Every prompt that some batch of a cache may use."""
        queries = [pool.labels.query for pool in self.pools[shard]]
        if self.config.relevance:
            references = range(self.config.relevance_max + 1)
            queries = [relevance_prompt(q, r) for q in queries for r in references]
        asked = [c.question for c in self.comparisons[shard].questions]
        return list(dict.fromkeys([*queries, *asked]))


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
        adding = [word for prompt in missing[:10] for word in ("--add", prompt)]
        raise LabelsError(
            f"{where} has no tokens for {len(missing)} of {len(prompts)} prompts:\n{shown}{more}\n"
            f"Add them: {shlex.join(['featcache', 'prompts', where, *adding])}"
            + (" --add …" if more else "")
        )


def _view_indices(stored: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Map names of views to indices."""
    wanted = choose_names("view", wanted, stored)
    return np.array([list(stored).index(name) for name in (wanted or stored)], np.int64)


def _integer(generator: np.random.Generator, high: int) -> int:
    """Draw one integer below ``high``."""
    return int(integers(generator, high, 1)[0])

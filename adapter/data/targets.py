"""Targets on a common scale.

Counts, ages and opinion scores differ by orders of magnitude, and the regression head sums over
tokens: raw ages start with a loss in the tens, and the data set with the largest unit drowns the
others. So targets are standardized per cache and task, (y - mean) / std of the training labels,
and scores are mapped back to the data set's unit wherever somebody sees them. The released code
trains on raw values; that is ``none``.

The ranking losses see only the order of targets, which a positive scale keeps.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from adapter.data.comparisons import TASK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from adapter.data.comparisons import ComparisonSelection
    from adapter.data.labels import LabelSelection
    from adapter.settings import TargetScaling

Values = TypeVar("Values", bound="float | NDArray[Any]")


@dataclass(frozen=True, kw_only=True)
class TargetScale:
    """Unit of one task in one cache.

    Attributes:
        cache: Number of the cache in the run, as ``run.json`` counts them. None in runs of before
            2026-11-28, which gave all caches of one data set the unit of the first.
        dataset: Name of its data set.
        task: Name of the task.
        queries: The prompts that were trained with it.
        mean: What a score of 0 stands for, in the data set's unit.
        std: What a step of 1 stands for, in the data set's unit; positive.
        low: Smallest training label.
        high: Largest training label.
    """

    cache: int | None
    dataset: str
    task: str
    queries: tuple[str, ...]
    mean: float
    std: float
    low: float
    high: float

    def standardize(self, values: Values) -> Values:
        """Map labels to the network's unit."""
        return (values - self.mean) / self.std  # type: ignore[return-value]

    def restore(self, scores: Values) -> Values:
        """Map scores to the data set's unit."""
        return scores * self.std + self.mean  # type: ignore[return-value]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"queries": list(self.queries)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> TargetScale:
        """Read what ``to_dict`` gave."""
        return cls(**{**value, "queries": tuple(value["queries"])})


@dataclass(frozen=True, kw_only=True)
class TargetScales:
    """The units of all tasks of a run."""

    scales: tuple[TargetScale, ...]

    def of_task(self, cache: int, task: str) -> TargetScale:
        """Return a training task's unit; KeyError when the run has no such task."""
        for scale in self.scales:
            if (scale.cache, scale.task) == (cache, task):
                return scale
        raise KeyError((cache, task))

    def find(
        self,
        query: str,
        task: str | None = None,
        dataset: str | None = None,
        cache: int | None = None,
    ) -> TargetScale:
        """Guess the unit of a query that may be new.

        The best match decides: the same cache and task, the same data set and task, then the
        query itself, then the task alone, then the only unit that there is. Where two caches
        match as well as each other and have different units, neither is taken. Nothing of the
        kind leaves the network's own unit (mean 0, std 1), in which order is meaningful and size
        is not.
        """
        tests: tuple[Callable[[TargetScale], bool], ...] = (
            lambda s: cache is not None and s.cache == cache and s.task == task,
            lambda s: s.dataset == dataset and s.task == task and query in s.queries,
            lambda s: s.dataset == dataset and s.task == task,
            lambda s: query in s.queries and task in (None, s.task),
            lambda s: s.task == task,
        )
        for test in tests:
            found = [scale for scale in self.scales if test(scale)]
            if found and len({(scale.mean, scale.std) for scale in found}) == 1:
                return found[0]
        if len(self.scales) == 1 and task is None:
            return self.scales[0]
        return TargetScale(
            cache=None,
            dataset=dataset or "",
            task=task or "",
            queries=(query,),
            mean=0.0,
            std=1.0,
            low=-np.inf,
            high=np.inf,
        )

    def to_list(self) -> list[dict[str, Any]]:
        """Return JSON values."""
        return [scale.to_dict() for scale in self.scales]

    @classmethod
    def from_list(cls, values: Sequence[Mapping[str, Any]]) -> TargetScales:
        """Read what ``to_list`` gave, now or before 2026-11-28."""
        scales: list[TargetScale] = []
        for value in values:
            scale = TargetScale.from_dict({"cache": None, **value})
            known = [(s.cache, s.dataset, s.task) for s in scales]
            if scale.cache is None and (None, scale.dataset, scale.task) in known:
                at = known.index((None, scale.dataset, scale.task))
                queries = dict.fromkeys((*scales[at].queries, *scale.queries))
                scales[at] = replace(scales[at], queries=tuple(queries))
            else:
                scales.append(scale)
        return cls(scales=tuple(scales))


def fit_scales(
    selections: Sequence[tuple[str, LabelSelection]], scaling: TargetScaling
) -> TargetScales:
    """Find each task's unit from its training labels.

    Args:
        selections: Per cache of the run, the name of its data set and its training labels.
        scaling: ``standardize``, or ``none`` for raw values as in the released code.

    Returns:
        One scale per (cache, task). A task whose labels are all equal keeps std 1.
    """
    scales = []
    for number, (dataset, selection) in enumerate(selections):
        for task in sorted({q.task for q in selection.queries}):
            queries = [q for q in selection.queries if q.task == task]
            values = np.concatenate([q.values for q in queries])
            mean, std = float(values.mean()), float(values.std())
            if scaling == "none":
                mean, std = 0.0, 1.0
            scales.append(
                TargetScale(
                    cache=number,
                    dataset=dataset,
                    task=task,
                    queries=tuple(q.query for q in queries),
                    mean=mean,
                    std=std if std > 0 else 1.0,
                    low=float(values.min()),
                    high=float(values.max()),
                )
            )
    return TargetScales(scales=tuple(scales))


def comparison_scales(
    scales: TargetScales, comparisons: Sequence[tuple[str, ComparisonSelection]]
) -> TargetScales:
    """Add the unit of questions that no label of their cache answers.

    There a difference of 1 between two scores makes the higher image win with a probability of
    sigmoid(1) = 0.73; the mean is of no meaning.

    Args:
        scales: Units of the labels.
        comparisons: Per cache of the run, the name of its data set and its comparisons.
    """
    added = []
    for number, (dataset, selection) in enumerate(comparisons):
        labeled = {q for s in scales.scales if s.cache == number for q in s.queries}
        asked = tuple(c.question for c in selection.questions if c.question not in labeled)
        if asked:
            added.append(
                TargetScale(
                    cache=number,
                    dataset=dataset,
                    task=TASK,
                    queries=asked,
                    mean=0.0,
                    std=1.0,
                    low=0.0,
                    high=1.0,
                )
            )
    return TargetScales(scales=(*scales.scales, *added))

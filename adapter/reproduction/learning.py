"""Learning a method from one or several queries, and asking what was learned about others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.methods.method import FoldData, Method, Predictor


@runtime_checkable
class Together(Protocol):
    """A method that can learn several queries with one model."""

    def fit_together(self, folds: Sequence[FoldData]) -> list[Any]:
        """Learn all queries; returns one predictor per query."""


@runtime_checkable
class Answering(Protocol):
    """A predictor that can be asked for any query, learned or not."""

    def asked(self, query: str, task: str) -> Predictor:
        """Return the predictor of a query."""


def learns_together(method: Method) -> bool:
    """Tell whether a method makes one model of several queries."""
    return isinstance(method, Together)


def learn(
    method: Method,
    folds: Sequence[FoldData],
    weights: Sequence[float] = (),
    on_progress: Callable[[int, int], None] = lambda done, steps: None,
) -> list[Predictor]:
    """Learn queries: with one model where the method can, else one after the other.

    Args:
        method: What learns.
        folds: One per query.
        weights: Share of the batches that each query's data set gets; equal when empty.
        on_progress: Told how far it is.

    Returns:
        One predictor per query.
    """
    if len(folds) == 1:
        return [method.fit(replace(folds[0], on_progress=on_progress))]
    if isinstance(method, Together):
        told = [replace(data, on_progress=on_progress) for data in folds]
        if len(set(weights)) > 1:
            weighted: Any = method.fit_together
            return list(weighted(told, weights=weights))
        return method.fit_together(told)
    predictors: list[Predictor] = []
    for number, data in enumerate(folds):
        predictors.append(method.fit(replace(data, folder=data.folder / f"query-{number}")))
        on_progress(number + 1, len(folds))
    return predictors


def predictor_for(
    predictors: Sequence[Predictor], folds: Sequence[FoldData], asked: FoldData
) -> tuple[Predictor, FoldData] | None:
    """Return what predicts a query, and the fold whose classes its probabilities are of.

    None where nothing that was learned can.
    """
    for predictor, data in zip(predictors, folds, strict=True):
        if (data.query, data.task) == (asked.query, asked.task):
            return predictor, data
    first = predictors[0]
    return (first.asked(asked.query, asked.task), asked) if isinstance(first, Answering) else None

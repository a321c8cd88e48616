"""Fitting a stack: regressions in closed form, then weights from predictions for unseen images.

The adapter's predictions come from adapters that were trained without the image (see
:mod:`adapter.training.parts`), the regression's from leave-one-out, which ridge regression has in
closed form. So neither member is judged on what it has learned by heart. Stacking: Wolpert,
"Stacked generalization", Neural Networks 5 (1992); weights that are not negative: Breiman,
"Stacked regressions", Machine Learning 24 (1996).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import nnls

from adapter.data.pools import counting
from adapter.stacking.curve import LANDMARKS, Landmarks
from adapter.stacking.ridge import Decomposed, standardizer
from adapter.stacking.stack import Array, StackedQuery, image_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from adapter.data.labels import FeatureCache, LabelSelection, QueryLabels
    from adapter.settings import SamplingConfig

SPREAD = 0.3  # how far weights are expected from those expected most: a standard deviation
EXPECTED = (0.5, 0.25, 0.25)  # weights of a line and of two curves, before any label is seen
EXPECTED_SPREAD = 0.1
LARGEST = 5000  # images of a query that are read: more hardly move a regression


class Blend(NamedTuple):
    """Weights [M], none negative, and what is added."""

    weights: Array
    offset: float


def blend(
    predictions: Array,
    values: Array,
    spread: float = SPREAD,
    expected: Sequence[float] | None = None,
) -> Blend:
    """Find how members are added up, from predictions for images that they have not seen.

    Least squares with w >= 0, and with a pull towards weights v that are expected:

        sum_i (y_i - b - sum_m w_m p_im)^2 / e + sum_m (w_m - v_m)^2 / spread^2

    where e is the mean square error of the best member: the most probable weights where they are
    spread by so much around v. Few images, or bad members, leave them near v; a member without
    error gets all.

    Args:
        predictions: float64 [n, M].
        values: float64 [n].
        spread: Expected deviation of the weights.
        expected: v [M]; None for equal ones.
    """
    count = predictions.shape[1]
    center = np.full(count, 1 / count) if expected is None else np.asarray(expected, np.float64)
    if len(values) == 0:
        return Blend(center, 0.0)
    means, mean = predictions.mean(axis=0), float(values.mean())
    error = float(((predictions - values[:, None]) ** 2).mean(axis=0).min())
    pull = np.sqrt(error) / spread
    weights, _ = nnls(
        np.concatenate([predictions - means, pull * np.eye(count)]),  # [n + M, M]
        np.concatenate([values - mean, pull * center]),
    )
    return Blend(weights, mean - float(means @ weights))


class Regression(NamedTuple):
    """A straight line and two smooth curves, blended.

    Attributes:
        line: float64 [E + C].
        curves: float64 [m] each, what each bell adds.
        intercept: In the labels' unit.
        left_out: float64 [n], what it says of images that it has not seen.
    """

    line: Array
    curves: tuple[Array, ...]
    intercept: float
    left_out: Array


class Regressions:
    """Fits the regressions of a cache's queries; those of the same images share the work.

    A query has three: a straight line on pooled embedding and mean patch token, and a smooth curve
    on each. Blended, they predict better than the best of them, or as well.

    Args:
        cache: Where the features are.
        views: Views of the images.
        rows: int64, images of all queries, among which the bells of the curves stand.
    """

    def __init__(self, cache: FeatureCache, views: Sequence[str], rows: NDArray[np.int64]) -> None:
        self._cache, self._views = cache, views
        some = np.sort(_shuffled(np.unique(rows), 0)[: 2 * LANDMARKS])
        seen = self._vectors(some)  # [n, V, E + C]
        embedding = cache.pooled(some[:1], view=views[0]).shape[1]  # E
        flat = seen.reshape(-1, seen.shape[-1])
        self._mean, self._scale = standardizer(flat)
        places = slice(embedding), slice(embedding, None)
        self.landmarks = tuple(Landmarks.choose(flat, place) for place in places)
        self._roots = [landmarks.root() for landmarks in self.landmarks]  # [m, r] each
        self._rows: NDArray[np.int64] | None = None
        self._ready: list[Decomposed] = []  # of the line, and of each curve

    def fit(self, labels: QueryLabels) -> Regression:
        """Fit line and curves, and blend them."""
        if self._rows is None or not np.array_equal(self._rows, labels.rows):
            self._rows, self._ready = labels.rows, [*self._decompose(labels.rows)]
        fits = [ready.fit(labels.values) for ready in self._ready]
        left_out = np.stack([fit.left_out for fit in fits], axis=1)  # [n, 3]
        found = blend(left_out, labels.values, EXPECTED_SPREAD, EXPECTED)
        share, *others = found.weights.tolist()
        line = share * fits[0].weights / self._scale
        curves = [
            share * (root @ fit.weights)
            for share, root, fit in zip(others, self._roots, fits[1:], strict=True)
        ]
        intercepts = float(found.weights @ [fit.intercept for fit in fits])
        return Regression(
            line=line,
            curves=tuple(curves),
            intercept=found.offset + intercepts - float(self._mean @ line),
            left_out=left_out @ found.weights + found.offset,
        )

    def _decompose(self, rows: NDArray[np.int64]) -> Iterator[Decomposed]:
        """Yield the features of the line, then those of each curve, of images to learn from."""
        x = self._vectors(rows)  # [n, V, E + C]
        yield Decomposed((x - self._mean) / self._scale)
        for landmarks, root in zip(self.landmarks, self._roots, strict=True):
            each = [landmarks.kernel(x[:, view]) @ root for view in range(x.shape[1])]
            yield Decomposed(np.stack(each, axis=1))  # [n, V, r]

    def _vectors(self, rows: NDArray[np.int64]) -> Array:
        """Return embedding and mean token of images, in all views: [n, V, E + C]."""
        return np.stack([image_vectors(self._cache, rows, view) for view in self._views], axis=1)


def fit_query(
    regressions: Regressions, number: int, labels: QueryLabels, adapter: Array
) -> StackedQuery:
    """Fit regression and weights of one query.

    Args:
        regressions: Those of its cache.
        number: Of the cache in the run.
        labels: What is learned from: :func:`stack_labels`.
        adapter: float64 [n], what adapters that have not seen an image predict for it, in the
            labels' unit; NaN where there is no such adapter.
    """
    regression = regressions.fit(labels)
    known = np.isfinite(adapter)
    members = np.stack([adapter, regression.left_out], axis=1)[known]  # [k, 2]
    found = blend(members, labels.values[known])
    stacked = found.offset + members @ found.weights
    errors = {
        name: float(np.sqrt(np.mean((labels.values[known] - p) ** 2))) if known.any() else 0.0
        for name, p in {"adapter": members[:, 0], "line": members[:, 1], "stack": stacked}.items()
    }
    return StackedQuery(
        cache=number,
        task=labels.task,
        query=labels.query,
        line=regression.line,
        intercept=regression.intercept,
        adapter_weight=float(found.weights[0]),
        line_weight=float(found.weights[1]),
        offset=found.offset,
        images=len(labels.rows),
        errors=errors,
        landmarks=regressions.landmarks,
        curves=regression.curves,
    )


def stack_labels(
    selection: LabelSelection, config: SamplingConfig, seed: int
) -> tuple[QueryLabels, ...]:
    """Return the labels that regressions and weights of a cache's queries are fitted to.

    A counting query whose table never says zero gets images without the category as zeros, in the
    ratio of the adapter's batches. Of very large data sets, a part is drawn.
    """
    return tuple(
        _at_most(_with_zeros(q, selection, config, seed), LARGEST, seed) for q in selection.queries
    )


def _with_zeros(
    labels: QueryLabels, selection: LabelSelection, config: SamplingConfig, seed: int
) -> QueryLabels:
    ratio = config.negative_ratio
    implied = counting(labels.task, config.counting_tasks) and (
        labels.task not in selection.states_zeros
    )
    if not implied or ratio == 0:
        return labels
    images = selection.task_images[labels.task]
    zeros = images[~np.isin(images, labels.containing)]
    count = min(len(zeros), round(len(labels.rows) * ratio / (1 - ratio)))
    chosen = np.sort(_shuffled(zeros, seed)[:count])
    return replace(
        labels,
        rows=np.concatenate([labels.rows, chosen]),
        values=np.concatenate([labels.values, np.zeros(count)]),
    )


def _at_most(labels: QueryLabels, count: int, seed: int) -> QueryLabels:
    if len(labels.rows) <= count:
        return labels
    chosen = np.sort(_shuffled(np.arange(len(labels.rows)), seed)[:count])
    return replace(labels, rows=labels.rows[chosen], values=labels.values[chosen])


def _shuffled(values: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.Philox(key=seed)).permutation(values)

"""Fitting a stack: the line in closed form, then weights from predictions for unseen images.

The adapter's predictions come from adapters that were trained without the image (see
:mod:`adapter.training.parts`), the line's from leave-one-out, which ridge regression has in closed
form. So neither member is judged on what it has learned by heart. Stacking: Wolpert, "Stacked
generalization", Neural Networks 5 (1992); weights that are not negative: Breiman, "Stacked
regressions", Machine Learning 24 (1996).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np
from scipy.optimize import nnls

from adapter.data.pools import counting
from adapter.stacking.ridge import RidgeFit, fit_ridge, standardizer
from adapter.stacking.stack import Array, Features, StackedQuery, image_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.data.labels import FeatureCache, LabelSelection, QueryLabels
    from adapter.settings import SamplingConfig

SPREAD = 0.3  # how far weights are expected from equal ones: a standard deviation
LARGEST = 5000  # images of a query that are read: more do not move a straight line


class Blend(NamedTuple):
    """Weights [M], none negative, and what is added."""

    weights: Array
    offset: float


def blend(predictions: Array, values: Array, spread: float = SPREAD) -> Blend:
    """Find how members are added up, from predictions for images that they have not seen.

    Least squares with w >= 0, and with a pull towards the plain mean:

        sum_i (y_i - b - sum_m w_m p_im)^2 / e + sum_m (w_m - 1/M)^2 / spread^2

    where e is the mean square error of the best member: the most probable weights where they are
    spread by so much around equal ones. Few images, or bad members, leave them near equal; a member
    without error gets all.

    Args:
        predictions: float64 [n, M].
        values: float64 [n].
        spread: Expected deviation of the weights.
    """
    count = predictions.shape[1]
    equal = np.full(count, 1 / count)
    if len(values) == 0:
        return Blend(equal, 0.0)
    means, mean = predictions.mean(axis=0), float(values.mean())
    error = float(((predictions - values[:, None]) ** 2).mean(axis=0).min())
    pull = np.sqrt(error) / spread
    weights, _ = nnls(
        np.concatenate([predictions - means, pull * np.eye(count)]),  # [n + M, M]
        np.concatenate([values - mean, pull * equal]),
    )
    return Blend(weights, mean - float(means @ weights))


def fit_query(
    cache: FeatureCache,
    number: int,
    labels: QueryLabels,
    adapter: Array,
    views: Sequence[str],
) -> StackedQuery:
    """Fit line and weights of one query.

    Args:
        cache: Where the features are.
        number: Of the cache in the run.
        labels: What is learned from: :func:`stack_labels`.
        adapter: float64 [n], what adapters that have not seen an image predict for it, in the
            labels' unit; NaN where there is no such adapter.
        views: Views of the images.
    """
    features, fit, line, intercept = _best_line(cache, labels, views)
    known = np.isfinite(adapter)
    members = np.stack([adapter, fit.left_out], axis=1)[known]  # [k, 2]
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
        features=features,
        line=line,
        intercept=intercept,
        adapter_weight=float(found.weights[0]),
        line_weight=float(found.weights[1]),
        offset=found.offset,
        images=len(labels.rows),
        errors=errors,
    )


def _best_line(
    cache: FeatureCache, labels: QueryLabels, views: Sequence[str]
) -> tuple[Features, RidgeFit, Array, float]:
    """Fit a line per kind of features; the one with the least leave-one-out error is kept."""
    found: list[tuple[Features, RidgeFit, Array, float]] = []
    for features in get_args(Features):
        x = np.stack(
            [image_vectors(cache, labels.rows, view, features) for view in views], axis=1
        )  # [n, V, F]
        mean, scale = standardizer(x.reshape(-1, x.shape[-1]))
        fit = fit_ridge((x - mean) / scale, labels.values)
        line = fit.weights / scale
        found.append((features, fit, line, fit.intercept - float(mean @ line)))
    return min(found, key=lambda one: one[1].error)


def stack_labels(
    selection: LabelSelection, config: SamplingConfig, seed: int
) -> tuple[QueryLabels, ...]:
    """Return the labels that lines and weights of a cache's queries are fitted to.

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


def _shuffled(values: np.ndarray[tuple[int], np.dtype[np.int64]], seed: int) -> Array:
    return np.random.Generator(np.random.Philox(key=seed)).permutation(values)

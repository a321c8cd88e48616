"""A linear taste: Bradley and Terry's model (1952) on cached features, learned in a moment.

An image has the strength u = w x, and the left image wins with probability sigmoid(u_l - u_r). The
weights minimize the cross-entropy of the answers plus a ridge,

    sum over answers of CE(sigmoid(w (x_l - x_r)), s) + ridge / 2 |w|^2

so a photo that was in no pair gets a strength too, and so does how sure that is (the Laplace
approximation around w). :func:`ridge_on_strengths` is the plain alternative: first one strength
per image, then a ridge regression from features to strengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import expit

from adapter.errors import LabelsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from adapter.data.comparisons import Comparisons
    from featcache.reading.cache import Cache

    Array = NDArray[np.float64]

RIDGES = tuple(float(r) for r in np.logspace(-3, 2, 11))  # of features of mean square 1
FOLDS = 5
CHUNK = 512  # images read at a time


def image_features(cache: Cache, view: str | None = None, *, tokens: bool = True) -> Array:
    """Return what the linear taste sees of each image: float64 [N, E], or [N, E + C].

    The pooled embedding and, where the cache has tokens, their mean, each of length 1; then
    centered, with a mean square length of 1.

    Args:
        cache: Where the features are.
        view: Name of the view; the first when left out.
        tokens: False leaves the tokens unread, which are a hundred times as much.
    """
    name = view or cache.views[0]
    parts = []
    for start in range(0, len(cache), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(cache)))
        both = [cache.pooled(rows, view=name).astype(np.float64)]  # [n, E]
        if tokens and cache.shapes.num_tokens:
            patches = cache.tokens(rows, view=name)  # [n, P, C]
            both.append(patches.mean(axis=1, dtype=np.float64))  # [n, C]
        parts.append(np.hstack([_unit(x) for x in both]))
    return standardized(np.vstack(parts))


def standardized(features: Array) -> Array:
    """Center features [N, D], and scale them to a mean square length of 1."""
    centered: Array = features - features.mean(axis=0)
    size = float(np.sqrt(np.square(centered).sum(axis=1).mean()))
    return centered / (size or 1.0)


def _unit(x: Array) -> Array:
    length: Array = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1.0)


@dataclass(frozen=True, kw_only=True)
class LinearTaste:
    """What was learned from answers.

    Attributes:
        weights: float64 [D].
        ridge: The strength of the ridge.
        differences: float64 [m, D], left minus right, of the answers.
        curvature: float64 [m], p (1 - p) of each answer.
    """

    weights: Array
    ridge: float
    differences: Array
    curvature: Array

    def scores(self, features: Array) -> Array:
        """Return strengths [N] of images [N, D]."""
        found: Array = features @ self.weights
        return found

    @cached_property
    def _system(self) -> Any:
        """Woodbury's system for (ridge I + A^T W A)^-1, of the size of the answers, factored."""
        gram = self.differences @ self.differences.T  # [m, m]
        return cho_factor(gram + self.ridge * np.diag(1 / np.maximum(self.curvature, 1e-9)))

    def information(self, differences: Array, images: Array) -> Array:
        """Return how much surer an answer would make the strengths of images, on average.

        The mean fall of the variance of their strengths, less what all of them share, which no
        order sees (Cohn, Ghahramani and Jordan, "Active learning with statistical models", JAIR
        1996, for the Laplace approximation around the weights).

        Args:
            differences: float64 [k, D], features of left minus right.
            images: float64 [n, D], those whose order counts, or some of them.

        Returns:
            float64 [k]: large where the model is not sure, and where photos are like many others
            and unlike those of the answers so far.
        """
        shared, variance = images @ differences.T, np.square(differences).sum(axis=1)  # [n, k], [k]
        if len(self.differences):
            across = self.differences @ differences.T  # [m, k]
            solved = cho_solve(self._system, across)  # [m, k]
            shared = shared - (images @ self.differences.T) @ solved
            variance = variance - (across * solved).sum(axis=0)
        shared = (shared - shared.mean(axis=0)) / self.ridge  # covariance of u and u_left - u_right
        p = expit(differences @ self.weights)
        sure = p * (1 - p)
        told: Array = np.square(shared).mean(axis=0) * sure / (1 + sure * variance / self.ridge)
        return told


def fit_linear(features: Array, answers: Comparisons, ridge: float | None = None) -> LinearTaste:
    """Learn from answers.

    Args:
        features: float64 [N, D], of all images; mean square length 1.
        answers: m answers; none gives weights of zero.
        ridge: Chosen from ``RIDGES`` by five-fold cross-validation of the cross-entropy when left
            out.
    """
    differences = features[answers.left] - features[answers.right]  # [m, D]
    if ridge is None:
        ridge = _best_ridge(differences, answers.shares)
    weights = _minimum(differences, answers.shares, ridge)
    p = expit(differences @ weights)
    return LinearTaste(weights=weights, ridge=ridge, differences=differences, curvature=p * (1 - p))


def _minimum(differences: Array, shares: Array, ridge: float) -> Array:
    """Minimize the cross-entropy plus the ridge."""

    def value(weights: Array) -> tuple[float, Array]:
        logits = differences @ weights
        loss = np.logaddexp(0, logits).sum() - shares @ logits + ridge / 2 * weights @ weights
        gradient = differences.T @ (expit(logits) - shares) + ridge * weights
        return float(loss), gradient

    start = np.zeros(differences.shape[1])
    if not len(differences):
        return start
    found: Array = minimize(value, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return found


def _best_ridge(differences: Array, shares: Array) -> float:
    """Choose the ridge; with few answers, one in the middle."""
    if len(shares) < 2 * FOLDS:
        return 1.0
    fold = np.arange(len(shares)) % FOLDS

    def held_out(ridge: float) -> float:
        total = 0.0
        for part in range(FOLDS):
            out = fold == part
            logits = differences[out] @ _minimum(differences[~out], shares[~out], ridge)
            total += float(np.logaddexp(0, logits).sum() - shares[out] @ logits)
        return total

    return _lowest(held_out)


def _lowest(loss: Callable[[float], float]) -> float:
    return min(RIDGES, key=loss)


def strengths(answers: Comparisons, count: int, ridge: float = 0.1) -> tuple[Array, Array]:
    """Fit one strength per compared image, without features.

    Args:
        answers: The answers.
        count: Number of images N.
        ridge: Keeps the strength of an image that always wins finite.

    Returns:
        Rows int64 [n] of the compared images, and their strengths float64 [n].
    """
    rows = np.unique(np.concatenate([answers.left, answers.right]))
    if not len(rows):
        raise LabelsError("no answers yet, so there are no strengths")
    place = np.full(count, -1)
    place[rows] = np.arange(len(rows))
    left, right = place[answers.left], place[answers.right]

    def value(u: Array) -> tuple[float, Array]:
        logits = u[left] - u[right]
        loss = np.logaddexp(0, logits).sum() - answers.shares @ logits + ridge / 2 * u @ u
        error = expit(logits) - answers.shares
        gradient = ridge * u + np.bincount(left, error, len(rows))
        return float(loss), gradient - np.bincount(right, error, len(rows))

    return rows, minimize(value, np.zeros(len(rows)), jac=True, method="L-BFGS-B").x


def ridge_on_strengths(features: Array, answers: Comparisons) -> Array:
    """Regress Bradley-Terry strengths on features, the ridge chosen by leaving one image out.

    Returns:
        float64 [N], a score of every image [N, D].
    """
    rows, target = strengths(answers, len(features))
    x, y = features[rows], target - target.mean()  # [n, D], [n]
    gram = x @ x.T
    values, vectors = np.linalg.eigh(gram)
    rotated = vectors.T @ y

    def left_out(ridge: float) -> float:
        inverse = 1 / (values.clip(0) + ridge)
        coefficients = vectors @ (inverse * rotated)
        diagonal = np.square(vectors) @ inverse
        return float(np.square(coefficients / diagonal).mean())  # exact for ridge regression

    ridge = _lowest(left_out)
    dual = vectors @ (rotated / (values.clip(0) + ridge))
    scores: Array = features @ (x.T @ dual)
    return scores

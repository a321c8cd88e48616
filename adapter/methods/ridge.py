"""Ridge probe: linear regression on frozen features, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from adapter.methods.method import (
    Array,
    Features,
    FoldData,
    ImageVectors,
    Prediction,
    Rows,
    require,
)

# From nearly least squares to nearly the mean, in units of the mean squared singular value.
STRENGTHS = tuple(10.0**power for power in range(-6, 5))


class RidgeFit(NamedTuple):
    """Weights [F], the intercept, the chosen strength, and its leave-one-out mean square error."""

    weights: Array
    intercept: float
    strength: float
    error: float


def fit_ridge(x: Array, y: Array, strengths: tuple[float, ...] = STRENGTHS) -> RidgeFit:
    """Fit a ridge regression whose strength leave-one-out prediction chooses.

    With centered X = U S V^T and H = U diag(s^2 / (s^2 + a)) U^T + 1/n, leaving image i out gives
    the error (y_i - yhat_i) / (1 - H_ii): exact, without refitting (Golub, Heath, Wahba,
    "Generalized cross-validation", Technometrics 1979, equation 1.2; PRESS).

    Args:
        x: float64 [n, F].
        y: float64 [n].
        strengths: Candidates for a, in units of mean(s^2).
    """
    mean_x, mean_y = x.mean(axis=0), float(y.mean())
    u, s, vt = np.linalg.svd(x - mean_x, full_matrices=False)  # [n, r], [r], [r, F]
    rotated = u.T @ (y - mean_y)  # [r]
    unit = float((s**2).mean()) or 1.0
    best: tuple[float, float] = (np.inf, strengths[-1])
    for strength in strengths:
        shrink = s**2 / (s**2 + strength * unit)  # [r]
        residual = (y - mean_y) - u @ (shrink * rotated)  # [n]
        leverage = (u**2) @ shrink + 1 / len(y)  # [n]
        # A leverage of 1 means that the image is fitted alone: its left-out error is unbounded.
        error = float(np.mean((residual / np.maximum(1 - leverage, 1e-9)) ** 2))
        best = min(best, (error, strength))
    error, strength = best
    weights = vt.T @ (s / (s**2 + strength * unit) * rotated)  # [F]
    return RidgeFit(weights, mean_y - float(mean_x @ weights), strength, error)


@dataclass(frozen=True, kw_only=True)
class RidgeProbe:
    """Hoerl and Kennard, "Ridge regression", Technometrics 1970, equation 2.1.

    w = (X^T X + a I)^-1 X^T y on standardized features, a chosen by leave-one-out error on the
    training part.

    Attributes:
        features: ``pooled`` embedding, mean patch ``tokens``, or ``both``.
    """

    features: Features = "both"
    needs_text: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        _check(self.features)

    def fit(self, data: FoldData) -> RidgePredictor:
        """Solve for the weights."""
        x = data.vectors.of(self.features, data.train.rows)  # [n, F]
        mean, scale = standardizer(x)
        found = fit_ridge((x - mean) / scale, data.train.values)
        data.on_progress(1, 1)
        return RidgePredictor(
            features=self.features,
            mean=mean,
            scale=scale,
            weights=found.weights,
            intercept=found.intercept,
        )

    def quick(self) -> RidgeProbe:
        """Return itself: there are no steps."""
        return self


@dataclass(frozen=True, kw_only=True)
class RidgePredictor:
    """A fitted probe.

    Attributes:
        features: Which features it reads.
        mean: float64 [F], of the training part.
        scale: float64 [F], its deviation.
        weights: float64 [F].
        intercept: In the labels' unit.
    """

    features: Features
    mean: Array
    scale: Array
    weights: Array
    intercept: float

    def predict(self, vectors: ImageVectors, rows: Rows) -> Prediction:
        """Predict values."""
        x = (vectors.of(self.features, rows) - self.mean) / self.scale
        return Prediction(values=x @ self.weights + self.intercept)


def standardizer(x: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation per feature [F]; 1 in place of a deviation of 0."""
    scale = x.std(axis=0)
    return x.mean(axis=0), np.where(scale > 0, scale, 1.0)


def _check(features: str) -> None:
    require(
        features in ("pooled", "tokens", "both"),
        f"features must be pooled, tokens or both, not {features!r}",
    )

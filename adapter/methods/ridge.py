"""Ridge probe: linear regression on frozen features, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from adapter.methods.method import (
    Array,
    Features,
    FoldData,
    ImageVectors,
    Part,
    Prediction,
    Rows,
    require,
)

# From least squares to the mean, in units of the mean squared singular value: powers of ten.
POWERS = np.linspace(-8, 8, 161)
TOGETHER = 16  # strengths whose predictions [n V, TOGETHER] are in memory at a time


class RidgeFit(NamedTuple):
    """Weights [F], the intercept, the chosen strength, and its leave-one-out mean square error."""

    weights: Array
    intercept: float
    strength: float
    error: float


def fit_ridge(x: Array, y: Array, strength: float | None = None) -> RidgeFit:
    """Fit a ridge regression whose strength leave-one-out prediction chooses.

    With centered X = U S V^T and H = U diag(s^2 / (s^2 + a)) U^T + 1/n, leaving image i out gives
    the errors (I - H_ii)^-1 (y_i - yhat_i): exact, without refitting (Golub, Heath, Wahba,
    "Generalized cross-validation", Technometrics 1979, equation 1.2; PRESS). H_ii is the block of
    an image's views, which are left out together: an image's flip would tell its label.

    The error is computed for ten strengths per decade, and its minimum is then found between the
    neighbors of the best one, to a thousandth of a decade.

    Args:
        x: float64 [n, F], or [n, V, F] of V views of each image.
        y: float64 [n].
        strength: a, in units of mean(s^2), where it is not to be chosen.
    """
    x = x if x.ndim == 3 else x[:, None]  # [n, V, F]
    n, views, _ = x.shape
    flat = x.reshape(n * views, -1)  # [n V, F]
    mean_x, mean_y = flat.mean(axis=0), float(y.mean())
    u, s, vt = np.linalg.svd(flat - mean_x, full_matrices=False)  # [n V, r], [r], [r, F]
    centered = np.repeat(y - mean_y, views)  # [n V]
    rotated = u.T @ centered  # [r]
    unit = float((s**2).mean()) or 1.0
    blocks = u.reshape(n, views, -1)  # [n, V, r]

    def errors(powers: Array) -> Array:
        """Leave-one-out mean square error [A] of strengths 10^powers [A]."""
        shrink = s[:, None] ** 2 / (s[:, None] ** 2 + 10.0**powers * unit)  # [r, A]
        residual = centered[:, None] - u @ (shrink * rotated[:, None])  # [n V, A]
        rest = np.empty((n, len(powers), views, views))  # I - H_ii
        for v in range(views):
            for w in range(v + 1):
                leverage = (blocks[:, v] * blocks[:, w]) @ shrink + 1 / (n * views)  # [n, A]
                # A leverage of 1 means that the image is fitted alone: its error is unbounded.
                rest[:, :, v, w] = np.maximum(1 - leverage, 1e-9) if v == w else -leverage
                rest[:, :, w, v] = rest[:, :, v, w]
        wrong = residual.reshape(n, views, -1).transpose(0, 2, 1)[..., None]  # [n, A, V, 1]
        left_out = wrong / rest if views == 1 else np.linalg.solve(rest, wrong)
        return np.asarray((left_out**2).mean(axis=(0, 2, 3)), np.float64)

    if strength is None:
        parts = np.split(POWERS, range(TOGETHER, len(POWERS), TOGETHER))
        best = int(np.argmin(np.concatenate([errors(part) for part in parts])))
        around = POWERS[max(best - 1, 0)], POWERS[min(best + 1, len(POWERS) - 1)]
        found = minimize_scalar(
            lambda power: float(errors(np.array([power]))[0]),
            bounds=around,
            method="bounded",
            options={"xatol": 1e-3},
        )
        strength = float(10.0**found.x)
    weights = vt.T @ (s / (s**2 + strength * unit) * rotated)  # [F]
    error = float(errors(np.log10([strength]))[0])
    return RidgeFit(weights, mean_y - float(mean_x @ weights), strength, error)


@dataclass(frozen=True, kw_only=True)
class RidgeProbe:
    """Hoerl and Kennard, "Ridge regression", Technometrics 1970, equation 2.1.

    w = (X^T X + a I)^-1 X^T y on standardized features, a chosen by leave-one-out error on the
    training part.

    Attributes:
        features: ``pooled`` embedding, mean patch ``tokens``, or ``both``.
        views: Views of the training images, each a row; empty means all that the cache holds, as
            for the adapter.
    """

    features: Features = "both"
    views: tuple[str, ...] = ()
    needs_text: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        _check(self.features)

    def fit(self, data: FoldData) -> RidgePredictor:
        """Solve for the weights."""
        predictor = fit_probe(data.vectors, self.features, data.train, self.views)
        data.on_progress(1, 1)
        return predictor

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


def fit_probe(
    vectors: ImageVectors, features: Features, train: Part, views: tuple[str, ...] = ()
) -> RidgePredictor:
    """Fit a probe to a training part.

    Args:
        vectors: Of the images.
        features: Which of them.
        train: What to learn from.
        views: Views of the training images; empty means all that the cache holds.
    """
    seen = [one for one in vectors.views if not views or one.view in views]
    x = np.stack([one.of(features, train.rows) for one in seen], axis=1)  # [n, V, F]
    mean, scale = standardizer(x.reshape(-1, x.shape[-1]))
    found = fit_ridge((x - mean) / scale, train.values)
    return RidgePredictor(
        features=features,
        mean=mean,
        scale=scale,
        weights=found.weights,
        intercept=found.intercept,
    )


def standardizer(x: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation per feature [F]; 1 in place of a deviation of 0."""
    scale = x.std(axis=0)
    return x.mean(axis=0), np.where(scale > 0, scale, 1.0)


def _check(features: str) -> None:
    require(
        features in ("pooled", "tokens", "both"),
        f"features must be pooled, tokens or both, not {features!r}",
    )

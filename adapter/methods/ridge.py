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


class Decomposed:
    """Features of n images, decomposed once; then every fit of their labels is quick.

    With centered X = U S V^T and H = U diag(s^2 / (s^2 + a)) U^T + 1/n, leaving image i out gives
    the errors (I - H_ii)^-1 (y_i - yhat_i): exact, without refitting (Golub, Heath, Wahba,
    "Generalized cross-validation", Technometrics 1979, equation 1.2; PRESS). H_ii is the block of
    an image's views, which are left out together: an image's flip would tell its label.

    Args:
        x: float64 [n, F], or [n, V, F] of V views of each image.
    """

    def __init__(self, x: Array) -> None:
        x = x if x.ndim == 3 else x[:, None]  # [n, V, F]
        self._images, self._views, _ = x.shape
        flat = x.reshape(self._images * self._views, -1)  # [n V, F]
        self._mean = flat.mean(axis=0)
        # [n V, r], [r], [r, F]
        self._u, self._s, self._vt = np.linalg.svd(flat - self._mean, full_matrices=False)
        self._unit = float((self._s**2).mean()) or 1.0

    def fit(self, y: Array, strength: float | None = None) -> RidgeFit:
        """Fit labels float64 [n], with a strength that leave-one-out prediction chooses.

        The error is computed for ten strengths per decade, and its minimum is then found between
        the neighbors of the best one, to a thousandth of a decade.

        Args:
            y: float64 [n].
            strength: a, in units of mean(s^2), where it is not to be chosen.
        """
        mean = float(y.mean())
        centered = np.repeat(y - mean, self._views)  # [n V]
        rotated = self._u.T @ centered  # [r]

        def errors(powers: Array) -> Array:
            return self._left_out_errors(centered, rotated, powers)

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
        s = self._s
        weights = self._vt.T @ (s / (s**2 + strength * self._unit) * rotated)  # [F]
        error = float(errors(np.log10([strength]))[0])
        return RidgeFit(weights, mean - float(self._mean @ weights), strength, error)

    def _left_out_errors(self, centered: Array, rotated: Array, powers: Array) -> Array:
        """Leave-one-out mean square error [A] of strengths 10^powers [A].

        Args:
            centered: Labels [n V].
            rotated: U^T of them [r].
            powers: [A].
        """
        n, views = self._images, self._views
        shrink = self._s[:, None] ** 2
        shrink = shrink / (shrink + 10.0**powers * self._unit)  # [r, A]
        residual = centered[:, None] - self._u @ (shrink * rotated[:, None])  # [n V, A]
        blocks = self._u.reshape(n, views, -1)  # [n, V, r]
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


def fit_ridge(x: Array, y: Array, strength: float | None = None) -> RidgeFit:
    """Fit one ridge regression; see :class:`Decomposed` for the arguments."""
    return Decomposed(x).fit(y, strength)


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


class ProbeFeatures:
    """Standardized features of training images, decomposed once for the labels of any query.

    Args:
        vectors: Of the images.
        features: Which of them.
        rows: int64 [n], the images to learn from.
        views: Views of them; empty means all that the cache holds.
    """

    def __init__(
        self, vectors: ImageVectors, features: Features, rows: Rows, views: tuple[str, ...] = ()
    ) -> None:
        seen = [one for one in vectors.views if not views or one.view in views]
        x = np.stack([one.of(features, rows) for one in seen], axis=1)  # [n, V, F]
        self.features, self.rows = features, rows
        self._mean, self._scale = standardizer(x.reshape(-1, x.shape[-1]))
        self._decomposed = Decomposed((x - self._mean) / self._scale)

    def fit(self, values: Array) -> RidgePredictor:
        """Fit a probe to the labels float64 [n] of a query."""
        found = self._decomposed.fit(values)
        return RidgePredictor(
            features=self.features,
            mean=self._mean,
            scale=self._scale,
            weights=found.weights,
            intercept=found.intercept,
        )


def fit_probe(
    vectors: ImageVectors, features: Features, train: Part, views: tuple[str, ...] = ()
) -> RidgePredictor:
    """Fit a probe to one training part; see :class:`ProbeFeatures` for the other arguments."""
    return ProbeFeatures(vectors, features, train.rows, views).fit(train.values)


def standardizer(x: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation per feature [F]; 1 in place of a deviation of 0."""
    scale = x.std(axis=0)
    return x.mean(axis=0), np.where(scale > 0, scale, 1.0)


def _check(features: str) -> None:
    require(
        features in ("pooled", "tokens", "both"),
        f"features must be pooled, tokens or both, not {features!r}",
    )

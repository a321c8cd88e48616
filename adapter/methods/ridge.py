"""Ridge probe: linear regression on frozen features, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapter.methods.method import (
    Array,
    Features,
    FoldData,
    Hyperparameters,
    ImageVectors,
    Part,
    Prediction,
    Rows,
)
from adapter.stacking.ridge import Decomposed, standardizer


@dataclass(frozen=True, kw_only=True)
class RidgeProbe(Hyperparameters):
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

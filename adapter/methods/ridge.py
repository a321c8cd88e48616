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
        average: Predict the mean over these views, not the first view alone.
    """

    features: Features = "both"
    views: tuple[str, ...] = ()
    average: bool = False
    needs_text: bool = False

    def fit(self, data: FoldData) -> RidgePredictor:
        """Solve for the weights."""
        predictor = fit_probe(
            data.vectors, self.features, data.train, self.views, average=self.average
        )
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
        average: Views that predictions are averaged over; empty means the first alone.
    """

    features: Features
    mean: Array
    scale: Array
    weights: Array
    intercept: float
    average: tuple[str, ...] = ()

    def predict(self, vectors: ImageVectors, rows: Rows) -> Prediction:
        """Predict values."""
        seen = [one for one in vectors.views if one.view in self.average] or [vectors]
        mean = np.mean([one.of(self.features, rows) for one in seen], axis=0)  # [n, F]
        x = (mean - self.mean) / self.scale
        return Prediction(values=x @ self.weights + self.intercept)


class ProbeFeatures:
    """Standardized features of training images, decomposed once for the labels of any query.

    Args:
        vectors: Of the images.
        features: Which of them.
        rows: int64 [n], the images to learn from.
        views: Views of them; empty means all that the cache holds.
        average: Predict the mean over these views.
    """

    def __init__(
        self,
        vectors: ImageVectors,
        features: Features,
        rows: Rows,
        views: tuple[str, ...] = (),
        *,
        average: bool = False,
    ) -> None:
        seen = [one for one in vectors.views if not views or one.view in views]
        x = np.stack([one.of(features, rows) for one in seen], axis=1)  # [n, V, F]
        self.features, self.rows = features, rows
        self._average = tuple(one.view for one in seen) if average else ()
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
            average=self._average,
        )


def fit_probe(
    vectors: ImageVectors,
    features: Features,
    train: Part,
    views: tuple[str, ...] = (),
    *,
    average: bool = False,
) -> RidgePredictor:
    """Fit a probe to one training part; see :class:`ProbeFeatures` for the other arguments."""
    probe = ProbeFeatures(vectors, features, train.rows, views, average=average)
    return probe.fit(train.values)

"""Linear probe: softmax regression on frozen features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from adapter.methods.method import (
    Array,
    Features,
    FoldData,
    Hyperparameters,
    ImageVectors,
    Prediction,
    Rows,
    from_probabilities,
    softmax,
)
from adapter.stacking.ridge import standardizer

STRENGTHS = tuple(10.0**power for power in range(-4, 2))
HELD_OUT = 0.2


def softmax_loss(
    flat: Array, x: Array, classes: Rows, num_classes: int, strength: float
) -> tuple[float, Array]:
    """Mean cross-entropy plus strength / 2 times the squared weights, and its gradient.

    Args:
        flat: float64 [(F + 1) K], weights [F, K] and then biases [K], which are not penalized.
        x: float64 [n, F].
        classes: int64 [n].
        num_classes: K.
        strength: Of the penalty.
    """
    table = flat.reshape(-1, num_classes)  # [F + 1, K]
    weights, bias = table[:-1], table[-1]
    logits = x @ weights + bias  # [n, K]
    rows = np.arange(len(x))
    loss = float(np.mean(logsumexp(logits, axis=1) - logits[rows, classes]))
    surplus = softmax(logits)
    surplus[rows, classes] -= 1
    surplus /= len(x)  # [n, K]
    gradient = np.concatenate([x.T @ surplus + strength * weights, surplus.sum(axis=0)[None]])
    return loss + 0.5 * strength * float((weights**2).sum()), gradient.ravel()


def fit_softmax(
    x: Array, classes: Rows, num_classes: int, strength: float, iterations: int = 1000
) -> Array:
    """Minimize :func:`softmax_loss` by L-BFGS; returns weights and biases [F + 1, K]."""
    result = minimize(
        partial(softmax_loss, x=x, classes=classes, num_classes=num_classes, strength=strength),
        np.zeros((x.shape[1] + 1) * num_classes),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations},
    )
    return np.asarray(result.x, np.float64).reshape(-1, num_classes)


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Hyperparameters):
    """Multinomial logistic regression, as CLIP's linear probe (Radford et al., ICML 2021, A.3).

    p(k | x) = softmax_k(w_k . x + b_k) on standardized features. The L2 penalty is the one with
    the best cross-entropy on a fifth of the training part, held out by seed; then all of the
    training part is fitted with it.

    Attributes:
        features: ``pooled`` embedding, mean patch ``tokens``, or ``both``.
        iterations: L-BFGS iterations at most.
    """

    features: Features = "both"
    iterations: int = 1000
    needs_text: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        self._require_at_least(1, "iterations")

    def fit(self, data: FoldData) -> LinearPredictor:
        """Choose the penalty, then fit."""
        x = data.vectors.of(self.features, data.train.rows)  # [n, F]
        mean, scale = standardizer(x)
        x = (x - mean) / scale
        classes = data.classes_of(data.train)
        count = len(data.class_values)
        order = np.random.default_rng(data.seed).permutation(len(x))
        held, kept = np.split(order, [max(round(HELD_OUT * len(x)), 1)])
        tried: list[tuple[float, float]] = []
        for number, strength in enumerate(STRENGTHS):
            table = fit_softmax(x[kept], classes[kept], count, strength, self.iterations)
            error, _ = softmax_loss(table.ravel(), x[held], classes[held], count, 0.0)
            tried.append((error, strength))
            data.on_progress(number + 1, len(STRENGTHS) + 1)
        table = fit_softmax(x, classes, count, min(tried)[1], self.iterations)
        data.on_progress(len(STRENGTHS) + 1, len(STRENGTHS) + 1)
        return LinearPredictor(
            features=self.features,
            mean=mean,
            scale=scale,
            table=table,
            class_values=data.class_values,
        )

    def quick(self) -> LinearProbe:
        """Return the same with few iterations."""
        return LinearProbe(features=self.features, iterations=min(self.iterations, 50))


@dataclass(frozen=True, kw_only=True)
class LinearPredictor:
    """A fitted probe.

    Attributes:
        features: Which features it reads.
        mean: float64 [F], of the training part.
        scale: float64 [F], its deviation.
        table: float64 [F + 1, K], weights and then biases.
        class_values: float64 [K].
    """

    features: Features
    mean: Array
    scale: Array
    table: Array
    class_values: Array

    def predict(self, vectors: ImageVectors, rows: Rows) -> Prediction:
        """Predict classes and their expected value."""
        x = (vectors.of(self.features, rows) - self.mean) / self.scale
        probabilities = softmax(x @ self.table[:-1] + self.table[-1])  # [n, K]
        return from_probabilities(probabilities, self.class_values)

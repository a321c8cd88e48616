"""Ridge regression in closed form, and what it says of images that it has not seen."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# From least squares to the mean, in units of the mean squared singular value: powers of ten.
POWERS = np.linspace(-8, 8, 161)
TOGETHER = 16  # strengths whose predictions [n V, TOGETHER] are in memory at a time


class RidgeFit(NamedTuple):
    """A straight line.

    Attributes:
        weights: float64 [F].
        intercept: In the labels' unit.
        strength: The one that was chosen.
        error: Its leave-one-out mean square error.
        left_out: float64 [n], what a fit without the image predicts for it, mean over its views.
    """

    weights: Array
    intercept: float
    strength: float
    error: float
    left_out: Array


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

        The error is computed for ten strengths per decade. A polynomial through the best one and
        two neighbors on each side then says where the minimum is, to a thousandth of a decade.

        Args:
            y: float64 [n].
            strength: a, in units of mean(s^2), where it is not to be chosen.
        """
        mean = float(y.mean())
        centered = np.repeat(y - mean, self._views)  # [n V]
        rotated = self._u.T @ centered  # [r]

        def missed(powers: Array, inverse: Array) -> Array:
            return self._left_out_errors(centered, rotated, powers, inverse)  # [n, A, V]

        if strength is None:
            coarse = [(missed(*part) ** 2).mean(axis=(0, 2)) for part in self._grid]
            strength = float(10.0 ** _lowest(np.concatenate(coarse)))
        s = self._s
        weights = self._vt.T @ (s / (s**2 + strength * self._unit) * rotated)  # [F]
        power = np.array([np.log10(strength)])
        left_out = missed(power, self._invert(power))[:, 0]  # [n, V]
        return RidgeFit(
            weights=weights,
            intercept=mean - float(self._mean @ weights),
            strength=strength,
            error=float((left_out**2).mean()),
            left_out=y - left_out.mean(axis=1),
        )

    @cached_property
    def _grid(self) -> list[tuple[Array, Array]]:
        """Strengths to try, some at a time, each with what does not depend on the labels."""
        parts = np.split(POWERS, range(TOGETHER, len(POWERS), TOGETHER))
        return [(powers, self._invert(powers)) for powers in parts]

    def _shrink(self, powers: Array) -> Array:
        """What is left of each direction under strengths 10^powers [A]: [r, A]."""
        squares = self._s[:, None] ** 2
        return np.asarray(squares / (squares + 10.0**powers * self._unit), np.float64)

    def _invert(self, powers: Array) -> Array:
        """(I - H_ii)^-1 of every image, for strengths 10^powers [A]: [n, A, V, V]."""
        n, views = self._images, self._views
        shrink = self._shrink(powers)
        blocks = self._u.reshape(n, views, -1)  # [n, V, r]
        rest = np.empty((n, len(powers), views, views))  # I - H_ii
        for v in range(views):
            for w in range(v + 1):
                leverage = (blocks[:, v] * blocks[:, w]) @ shrink + 1 / (n * views)  # [n, A]
                # A leverage of 1 means that the image is fitted alone: its error is unbounded.
                rest[:, :, v, w] = np.maximum(1 - leverage, 1e-9) if v == w else -leverage
                rest[:, :, w, v] = rest[:, :, v, w]
        return np.asarray(1 / rest if views == 1 else np.linalg.inv(rest), np.float64)

    def _left_out_errors(
        self, centered: Array, rotated: Array, powers: Array, inverse: Array
    ) -> Array:
        """Leave-one-out errors [n, A, V] of strengths 10^powers [A].

        Args:
            centered: Labels [n V].
            rotated: U^T of them [r].
            powers: [A].
            inverse: Of ``_invert`` [n, A, V, V].
        """
        fitted = self._u @ (self._shrink(powers) * rotated[:, None])  # [n V, A]
        errors = (centered[:, None] - fitted).reshape(self._images, self._views, -1)  # [n, V, A]
        missed = inverse @ errors.transpose(0, 2, 1)[..., None]  # [n, A, V, 1]
        return np.asarray(missed[..., 0], np.float64)


def _lowest(errors: Array) -> float:
    """Return the power of ten with the least error, between those of the grid [len(POWERS)]."""
    best = int(np.argmin(errors))
    near = np.arange(max(best - 2, 0), min(best + 3, len(POWERS)))
    curve = np.polyfit(near - best, errors[near], len(near) - 1)
    fine = np.linspace(max(near[0] - best, -1), min(near[-1] - best, 1), 401)
    offset = fine[np.argmin(np.polyval(curve, fine))]
    return float(POWERS[best] + offset * (POWERS[1] - POWERS[0]))


def fit_ridge(x: Array, y: Array, strength: float | None = None) -> RidgeFit:
    """Fit one ridge regression; see :class:`Decomposed` for the arguments."""
    return Decomposed(x).fit(y, strength)


def standardizer(x: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation per feature [F]; 1 in place of a deviation of 0."""
    scale = x.std(axis=0)
    return x.mean(axis=0), np.where(scale > 0, scale, 1.0)

"""Smooth curves on frozen features: kernel ridge regression over a few hundred landmarks.

A straight line cannot say "rubber and round". A sum of bells over the feature space can:

    f(x) = sum_l c_l exp(-|x - z_l|^2 / w)

The landmarks z are training images, the width w is a multiple of their median squared distance.
With K the kernel between landmarks, k(x) K^(-1/2) are ordinary features (Williams and Seeger,
"Using the Nyström method to speed up kernel machines", NIPS 2000, equation 9), so ridge regression
on them, with its exact leave-one-out predictions, is all that a fit needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from adapter.stacking.ridge import standardizer

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = NDArray[np.float64]

LANDMARKS = 800
WIDTH = 4.0  # of a bell, in units of the median squared distance between landmarks
_LEAST = 1e-6  # eigenvalues of K below this share of the largest are noise


@dataclass(frozen=True, kw_only=True)
class Landmarks:
    """Where the bells stand.

    Attributes:
        start: Where the features begin in an image's vector, see ``stack.image_vectors``.
        mean: float64 [F], of the features of training images.
        scale: float64 [F], their deviation.
        points: float64 [m, F], standardized features of some training images.
        width: w, in units of the squared distance of standardized features.
    """

    start: int
    mean: Array
    scale: Array
    points: Array
    width: float

    @classmethod
    def choose(cls, vectors: Array, place: slice) -> Self:
        """Draw landmarks, the same ones each time.

        Args:
            vectors: float64 [n, E + C], of training images.
            place: Which of the features.
        """
        x = vectors[:, place]
        mean, scale = standardizer(x)
        generator = np.random.Generator(np.random.Philox(key=0))
        chosen = np.sort(generator.permutation(len(x))[:LANDMARKS])
        points = ((x[chosen] - mean) / scale).astype(np.float32).astype(np.float64)  # as saved
        distances = _squared_distances(points, points)[np.triu_indices(len(points), 1)]
        apart = distances[distances > 0]  # images that are the same say nothing about the width
        width = WIDTH * float(np.median(apart)) if len(apart) else 1.0
        return cls(start=place.start or 0, mean=mean, scale=scale, points=points, width=width)

    def kernel(self, vectors: Array) -> Array:
        """Height of each bell at images' vectors float64 [n, E + C]: [n, m]."""
        x = vectors[:, self.start : self.start + len(self.mean)]
        return self._bells((x - self.mean) / self.scale)

    def root(self) -> Array:
        """K^(-1/2) between the landmarks, without what is noise: [m, r]."""
        values, directions = eigh(self._bells(self.points))
        kept = values > _LEAST * values[-1]
        return np.asarray(directions[:, kept] / np.sqrt(values[kept]), np.float64)

    def _bells(self, x: Array) -> Array:
        return np.exp(_squared_distances(x, self.points) / -self.width)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return what :meth:`from_arrays` takes."""
        return {
            "start": np.array([self.start]),
            "mean": self.mean,
            "scale": self.scale,
            "points": self.points.astype(np.float32),
            "width": np.array([self.width]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Take back what :meth:`to_arrays` gave."""
        return cls(
            start=int(arrays["start"][0]),
            mean=arrays["mean"],
            scale=arrays["scale"],
            points=arrays["points"].astype(np.float64),
            width=float(arrays["width"][0]),
        )


def _squared_distances(x: Array, z: Array) -> Array:
    """|x_i - z_l|^2: [n, m]."""
    squares = (x**2).sum(axis=1)[:, None] + (z**2).sum(axis=1)
    return np.asarray(np.maximum(squares - 2 * x @ z.T, 0), np.float64)

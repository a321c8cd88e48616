"""Three photometric measures of an image, from its pixels as decoded.

With R, G, B in 0 ... 255, luma Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), rg = R - G and
yb = (R + G) / 2 - B:

- ``brightness = mean(Y) / 255``, in 0 ... 1;
- ``contrast = std(Y) / 255``, the population standard deviation (RMS contrast), in 0 ... 0.5;
- ``colourfulness = sqrt(var(rg) + var(yb)) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2)``, without unit,
  0 for gray images and about 0 ... 150 for photographs: M3 of Hasler and Süsstrunk, "Measuring
  colourfulness in natural images", Human Vision and Electronic Imaging VIII, 2003.

The paper ranks images by contrast, colourfulness and brightness (Table 4) without defining them;
these definitions are ours.

All of them follow from the sums of R, G, B and of their products. Those are integers, summed
exactly; one division and one square root at the end are the only roundings, so the values do not
depend on the order of summation, on threads, or on the machine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MEASURES = ("brightness", "contrast", "colourfulness")

# Linear forms of (R, G, B) with integer coefficients, so that sums stay exact.
_LUMA_1000 = (299, 587, 114)
_RG = (1, -1, 0)
_YB_2 = (1, 1, -2)

# Pixels per block: 0.5 MB as float64, which stays in cache. The largest sum of an image of 179
# megapixels, 179e6 x 255^2 = 1.2e13, is far below 2^53, so float64 holds it exactly.
_BLOCK = 1 << 16


def measure(rgb: NDArray[np.uint8]) -> dict[str, float]:
    """Measure brightness, contrast and colourfulness.

    Args:
        rgb: uint8 [H, W, 3], at least one pixel.

    Returns:
        ``brightness``, ``contrast`` and ``colourfulness``, as defined at the top of this module.

    Raises:
        ValueError: ``rgb`` is not uint8 [H, W, 3] with at least one pixel.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.size == 0:
        raise ValueError(f"expected pixels uint8 [H, W, 3], found {rgb.dtype} {list(rgb.shape)}")
    pixels = rgb.reshape(-1, 3)  # [H*W, 3]
    sums, products = np.zeros(3), np.zeros((3, 3))  # float64 holds such integers exactly
    for start in range(0, len(pixels), _BLOCK):
        block = pixels[start : start + _BLOCK]  # [n, 3]
        channels = [block[:, c].astype(np.float64) for c in range(3)]  # of [n] each
        sums += [channel.sum() for channel in channels]
        for i in range(3):
            for j in range(i, 3):
                # Not by BLAS: its threads would stand in the way of the threads that decode.
                products[i, j] += np.einsum("i,i->", channels[i], channels[j])
    products += np.triu(products, 1).T  # symmetric
    return Sums.of(len(pixels), sums.tolist(), products.tolist()).measures()


class Sums(NamedTuple):
    """What all measures follow from.

    Attributes:
        pixels: Their number.
        sums: Of R, G and B, each in 0 ... 255, over all pixels.
        products: Of R, G and B with each other, likewise, [3][3].
    """

    pixels: int
    sums: Sequence[int]
    products: Sequence[Sequence[int]]

    @classmethod
    def of(cls, pixels: int, sums: Sequence[float], products: Sequence[Sequence[float]]) -> Sums:
        """Take sums as floating point numbers that hold integers."""
        return cls(pixels, [int(s) for s in sums], [[int(p) for p in row] for row in products])

    def measures(self) -> dict[str, float]:
        """Return the measures, as defined at the top of this module."""
        luma_mean, luma_variance = self._moments(_LUMA_1000, 1000)
        rg_mean, rg_variance = self._moments(_RG, 1)
        yb_mean, yb_variance = self._moments(_YB_2, 2)
        spread, mean = math.sqrt(rg_variance + yb_variance), math.hypot(rg_mean, yb_mean)
        return {
            "brightness": luma_mean / 255,
            "contrast": math.sqrt(luma_variance) / 255,
            "colourfulness": spread + 0.3 * mean,
        }

    def _moments(self, form: tuple[int, int, int], unit: int) -> tuple[float, float]:
        """Mean and variance of ``form . (R, G, B) / unit``; integers until the division."""
        count = self.pixels
        total = sum(a * s for a, s in zip(form, self.sums, strict=True))
        square = sum(form[i] * form[j] * self.products[i][j] for i in range(3) for j in range(3))
        return total / (count * unit), (count * square - total * total) / (count * unit) ** 2

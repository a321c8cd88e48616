"""Looks: what a camera, a film and a bad copy do to a picture.

All functions take and return float64 [H, W, 3] in 0 ... 1, and change nothing in place. Strengths
do not depend on the size of the picture: blur is in picture widths, the others in units of 0 ... 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_LUMA = (0.299, 0.587, 0.114)
_BLOCK = 8


@dataclass(frozen=True, kw_only=True)
class Film:
    """How pictures of a decade look: colors, tint, faded blacks, grain, dark edges."""

    saturation: float
    tint: tuple[float, float, float]
    fade: float
    grain: float
    edges: float


# From brown and grainy over black and white, pale and warm colors to clean and vivid ones.
FILMS = MappingProxyType(
    {
        1920: Film(saturation=0.0, tint=(1.00, 0.80, 0.56), fade=0.16, grain=0.10, edges=0.60),
        1930: Film(saturation=0.0, tint=(1.00, 0.90, 0.74), fade=0.12, grain=0.08, edges=0.45),
        1940: Film(saturation=0.0, tint=(1.00, 1.00, 1.00), fade=0.06, grain=0.07, edges=0.30),
        1950: Film(saturation=0.35, tint=(1.00, 0.97, 0.84), fade=0.10, grain=0.05, edges=0.25),
        1960: Film(saturation=0.60, tint=(1.00, 0.92, 0.80), fade=0.12, grain=0.045, edges=0.20),
        1970: Film(saturation=0.65, tint=(1.00, 0.84, 0.68), fade=0.18, grain=0.04, edges=0.10),
        1980: Film(saturation=0.85, tint=(1.00, 0.88, 0.94), fade=0.10, grain=0.03, edges=0.05),
        1990: Film(saturation=1.05, tint=(0.98, 1.00, 0.92), fade=0.04, grain=0.02, edges=0.0),
        2000: Film(saturation=1.05, tint=(0.88, 0.95, 1.00), fade=0.02, grain=0.03, edges=0.0),
        2010: Film(saturation=1.35, tint=(1.00, 1.00, 1.00), fade=0.0, grain=0.0, edges=0.0),
    }
)
DECADES = tuple(FILMS)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What happens to a picture, in the order of the fields.

    Attributes:
        decade: First year of the decade whose film is imitated, one of `DECADES`; None: no film.
        saturation: 0 gray, 1 as it is, 2 twice as strong.
        contrast: Factor of the distance from middle gray.
        exposure: Factor of the light; what passes 1 is lost.
        blur: Standard deviation, in picture widths; 0.02 is much.
        noise: Standard deviation; 0.15 is much.
        blocks: Step by which the detail within blocks of 8 x 8 pixels is rounded; 0.3 is much.
    """

    decade: int | None = None
    saturation: float = 1.0
    contrast: float = 1.0
    exposure: float = 1.0
    blur: float = 0.0
    noise: float = 0.0
    blocks: float = 0.0


CLEAN = Look()


def random_look(rng: np.random.Generator) -> Look:
    """Choose a look: often none, else one to three things at once, seldom more."""
    chance = rng.random(7).tolist()
    amount = rng.random(7).tolist()
    decade = DECADES[int(rng.integers(len(DECADES)))]
    return Look(
        decade=decade if chance[0] < 0.25 else None,
        saturation=1.8 * amount[1] if chance[1] < 0.2 else 1.0,
        contrast=0.35 + 1.3 * amount[2] if chance[2] < 0.2 else 1.0,
        exposure=0.35 + 1.5 * amount[3] if chance[3] < 0.2 else 1.0,
        blur=0.004 + 0.02 * amount[4] if chance[4] < 0.25 else 0.0,
        noise=0.02 + 0.13 * amount[5] if chance[5] < 0.2 else 0.0,
        blocks=0.05 + 0.25 * amount[6] if chance[6] < 0.2 else 0.0,
    )


def develop(image: Array, look: Look, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Give a picture a look.

    Args:
        image: float64 [H, W, 3] in 0 ... 1.
        look: What happens to it.
        rng: For grain and noise.

    Returns:
        Pixels uint8 [H, W, 3].
    """
    if look.decade is not None:
        image = film(image, look.decade, rng)
    if look.saturation != 1:
        image = saturate(image, look.saturation)
    if look.contrast != 1:
        image = _clip((image - 0.5) * look.contrast + 0.5)
    if look.exposure != 1:
        image = _clip(image * look.exposure)
    if look.blur > 0:
        image = blur(image, look.blur)
    if look.noise > 0:
        image = add_noise(image, look.noise, rng)
    if look.blocks > 0:
        image = block(image, look.blocks)
    return (_clip(image) * 255 + 0.5).astype(np.uint8)


def film(image: Array, decade: int, rng: np.random.Generator) -> Array:
    """Imitate the film of a decade, one of `DECADES`."""
    kind = FILMS[decade]
    image = saturate(image, kind.saturation)
    image = (kind.fade + (1 - kind.fade) * image) * np.array(kind.tint)
    height, width = image.shape[:2]
    v = (np.arange(height) / (height - 1) * 2 - 1)[:, None]
    u = (np.arange(width) / (width - 1) * 2 - 1)[None, :]
    image = image * (1 - kind.edges * (u * u + v * v) / 2)[..., None]
    if kind.grain > 0:  # grain is the same in the three colors
        grain = (rng.random((height, width)) + rng.random((height, width)) - 1) * _TRIANGLE
        image = image + kind.grain * grain[..., None]
    return _clip(image)


def saturate(image: Array, factor: float) -> Array:
    """Scale each pixel's distance from its own gray."""
    gray = image[..., 0] * _LUMA[0] + image[..., 1] * _LUMA[1] + image[..., 2] * _LUMA[2]
    gray = gray[..., None]  # [H, W, 1]
    return _clip(gray + (image - gray) * factor)


def blur(image: Array, strength: float) -> Array:
    """Blur by a standard deviation in picture widths, up to about 3 pixels.

    Up to three passes of [a/2, 1 - a, a/2] with gaps of 1, 2 and 4 pixels; a pass with gap s has
    the variance a s^2, and a is at most 1/2.
    """
    pixels = strength * image.shape[1]
    variance = pixels * pixels
    for gap in (1, 2, 4):
        share = min(variance / (gap * gap), 0.5)
        if share <= 0:
            break
        variance -= share * gap * gap
        for axis in (0, 1):
            padding = [(gap, gap) if i == axis else (0, 0) for i in range(3)]
            wide = np.pad(image, padding, mode="edge")
            low, high = (wide[: -2 * gap], wide[2 * gap :]) if axis == 0 else (
                wide[:, : -2 * gap], wide[:, 2 * gap :]
            )  # fmt: skip
            image = image * (1 - share) + (low + high) * (share / 2)
    return image


# A sum of two uniform numbers less its mean has the variance 1/6.
_TRIANGLE = float(np.sqrt(6.0))


def add_noise(image: Array, strength: float, rng: np.random.Generator) -> Array:
    """Add noise of a standard deviation, independent in each color."""
    noise = (rng.random(image.shape) + rng.random(image.shape) - 1) * _TRIANGLE
    return _clip(image + strength * noise)


def block(image: Array, step: float) -> Array:
    """Round the detail within blocks of 8 x 8 pixels, as a strong compression does."""
    height, width = image.shape[:2]
    padding = [(0, -height % _BLOCK), (0, -width % _BLOCK), (0, 0)]
    wide = np.pad(image, padding, mode="edge")
    mean = wide
    for _ in range(3):  # means of 2 x 2, three times: blocks of 8 x 8
        mean = (mean[0::2] + mean[1::2]) / 2
        mean = (mean[:, 0::2] + mean[:, 1::2]) / 2
    mean = np.repeat(np.repeat(mean, _BLOCK, axis=0), _BLOCK, axis=1)
    rounded = mean + np.floor((wide - mean) / step + 0.5) * step
    return _clip(rounded[:height, :width])


def _clip(image: Array) -> Array:
    return np.asarray(np.minimum(np.maximum(image, 0), 1))

"""Drawn faces whose age shows: heads grow, hair turns gray and recedes, wrinkles come.

For stand-ins of data sets of ages; nobody is meant. The same arithmetic as the scenes'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featcache.datasets.scenes.backgrounds import draw_background

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

MAX_AGE = 100.0
_SKINS = ((0.96, 0.80, 0.69), (0.88, 0.67, 0.50), (0.69, 0.48, 0.34), (0.43, 0.29, 0.21))
_HAIRS = ((0.10, 0.08, 0.07), (0.30, 0.18, 0.10), (0.55, 0.36, 0.16), (0.80, 0.65, 0.36))
_GRAY_HAIR = (0.80, 0.80, 0.80)
_LIPS, _EYES = (0.62, 0.22, 0.22), (0.08, 0.07, 0.08)
_FIRST_WRINKLE, _YEARS_PER_WRINKLE = 20.0, 8.0


def draw_face(rng: np.random.Generator, age: float, size: int) -> Array:
    """Draw a face.

    Args:
        rng: For everything but the age: skin, hair, clothes, background, place.
        age: In years; from 0 to `MAX_AGE` it shows, beyond that it does not change.
        size: Width and height, pixels.

    Returns:
        float64 [size, size, 3] in 0 ... 1; `featcache.datasets.scenes.develop` makes pixels of it.
    """
    age = min(max(float(age), 0.0), MAX_AGE)
    image = draw_background(rng, size)  # [S, S, 3]
    skin = np.array(_SKINS[int(rng.integers(len(_SKINS)))]) * (0.92 + 0.1 * rng.random())
    hair = np.array(_HAIRS[int(rng.integers(len(_HAIRS)))])
    clothes = rng.random(3)
    x0, y0 = (rng.random(2) - 0.5) * 0.16
    grown = min(age / 25, 1.0)  # 0: newborn, 1: adult
    gray = min(max((age - 25) / 45, 0.0), 1.0)
    height = 0.42 + 0.24 * grown
    width = height * (0.92 - 0.14 * grown)  # children have round heads
    hair = hair * (1 - gray) + np.array(_GRAY_HAIR) * gray
    axis = np.arange(size) / (size - 1) * 2 - 1
    y, x = axis[:, None] - y0, axis[None, :] - x0  # from the middle of the face
    pixel = 2 / size

    def paint(color: Array, cx: float, cy: float, rx: float, ry: float) -> None:
        """Fill an ellipse; its edge is one pixel wide."""
        u, v = (x - cx) / rx, (y - cy) / ry
        inside = (1 - np.sqrt(u * u + v * v)) * (min(rx, ry) / pixel) + 0.5
        cover = np.minimum(np.maximum(inside, 0), 1)[..., None]  # [S, S, 1]
        image[:] = image * (1 - cover) + color * cover

    paint(clothes, 0.0, height + 0.5, 0.35 + 0.35 * grown, 0.45)
    volume = (1.16 - 0.10 * max(age - 50, 0) / 50) * (0.97 + 0.06 * rng.random())
    paint(hair, 0.0, -0.12 * height, width * volume, height * volume)
    paint(skin, 0.0, 0.0, width, height)
    fringe = 0.40 - 0.22 * max(age - 40, 0) / 60  # the hair's lower edge moves up
    paint(hair, 0.0, -height * 0.85, width * 0.78, height * fringe)
    eye, apart = width * (0.19 - 0.07 * grown), width * 0.42
    level = height * (0.16 - 0.18 * grown)  # of the eyes; lower in a child's face
    for side in (-1.0, 1.0):
        paint(np.ones(3), side * apart, level, eye * 1.35, eye)
        paint(np.array(_EYES), side * apart, level, eye * 0.75, eye * 0.8)
        paint(hair * 0.7, side * apart, level - 2.1 * eye, eye * 1.6, 0.02 + 0.012 * grown)
    paint(skin * 0.8, 0.0, level + 0.27 * height, width * 0.12, height * 0.1)
    paint(np.array(_LIPS), 0.0, level + 0.52 * height, width * 0.34, height * 0.055)
    crease = skin * 0.62
    for i in range(int(max(age - _FIRST_WRINKLE, 0) / _YEARS_PER_WRINKLE)):
        if i % 2 == 0:  # on the forehead, upwards
            paint(crease, 0.0, level - height * (0.26 + 0.05 * i), width * 0.5, 0.55 * pixel)
        else:  # under both eyes, downwards
            for side in (-1.0, 1.0):
                below = level + eye * 1.3 + 0.04 * height * (i // 2)
                paint(crease, side * apart, below, eye * 1.5, 0.55 * pixel)
    return image

"""Backgrounds: a tinted gradient with one of six textures, and the shadows that fall on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def draw_background(rng: np.random.Generator, size: int) -> Array:
    """Draw a background: [S, S, 3] in 0 ... 1.

    Level, tint and strength of the texture vary independently and widely: brightness,
    colorfulness and contrast of the pictures follow them.
    """
    level = 0.08 + 0.84 * rng.random()
    tint = (rng.random(3) - 0.5) * 0.4 * rng.random()
    slope = (rng.random(2) - 0.5) * 0.5
    kind, strength = int(rng.integers(6)), 0.14 * rng.random()
    a, b, width = rng.random() * 2 - 1, rng.random() * 2 - 1, 0.1 + 0.32 * rng.random()
    axis = np.arange(size) / (size - 1) * 2 - 1
    y, x = axis[:, None], axis[None, :]
    gray = level + slope[0] * x + slope[1] * y  # [S, S]
    if kind == 1:  # smooth noise: a coarse grid of random values, interpolated
        cells = int(rng.integers(3, 12))
        gray += strength * (_interpolate(rng.random((cells, cells)), size) * 2 - 1)
    elif kind == 2:  # stripes
        gray += strength * _alternate((a * x + b * y) / width)
    elif kind == 3:  # a checkerboard
        gray += strength * _alternate((a * x + b * y) / width) * _alternate((b * x - a * y) / width)
    elif kind == 4:  # round dots in a turned grid
        u, v = (a * x + b * y) / width, (b * x - a * y) / width
        u, v = u - np.floor(u) - 0.5, v - np.floor(v) - 0.5
        gray += strength * np.where(u * u + v * v < 0.09, 1.0, -0.4)
    elif kind == 5:  # a wall above a floor
        gray += 1.6 * strength * np.where(y + 0.3 * a * x > b - 0.2, 1.0, -1.0)
    grain = 0.03 * rng.random()  # a fine texture of the surface itself
    gray += grain * (rng.random((size, size)) * 2 - 1)
    return np.asarray(np.minimum(np.maximum(gray[..., None] + tint, 0), 1))


def _alternate(place: Array) -> Array:
    """1 and -1 in turn, one unit each."""
    half = place / 2
    return np.where(half - np.floor(half) < 0.5, -1.0, 1.0)


def _interpolate(grid: Array, size: int) -> Array:
    """Bilinear interpolation of a square grid: [n, n] to [size, size]."""
    place = np.arange(size) / (size - 1) * (len(grid) - 1)
    low = np.minimum(place.astype(int), len(grid) - 2)
    part = place - low
    rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]  # [S, n]
    return np.asarray(rows[:, low] * (1 - part) + rows[:, low + 1] * part)


def cast_shadow(window: Array, strength: float) -> None:
    """Darken an ellipse below and to the right of where an object will stand: [d, d, 3]."""
    axis = np.arange(len(window)) / (len(window) - 1) * 2 - 1
    v, u = axis[:, None], axis[None, :]
    inside = (u - 0.12) * (u - 0.12) + (v - 0.35) * (v - 0.35) * 2.2
    shadow = 1 - strength * np.minimum(np.maximum(1.1 - inside, 0), 1)
    window *= shadow[..., None]

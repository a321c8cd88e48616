"""Solids: cube, sphere and cylinder, of rubber or metal.

Coordinates: x to the right, y downwards, from -1 to 1 over the square around an object. Light comes
from the upper left. A solid is sampled 3 x 3 times per pixel, so its outline is smooth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

SHAPES = ("cube", "sphere", "cylinder")
MATERIALS = ("rubber", "metal")

_SAMPLES = 3
_LIGHT = (-0.48, -0.6, 0.64)  # unit vector towards the light; z towards the viewer
_CUBE_FACES = ((0.0, 0.0, 1.0), (-0.1, -0.9, 0.42), (0.9, 0.1, 0.42))  # normals: front, top, right


def draw_solid(
    shape: str, material: str, base: Array, radius: float, tilt: float
) -> tuple[Array, Array]:
    """Draw one solid on nothing.

    Args:
        shape: One of `SHAPES`.
        material: One of `MATERIALS`.
        base: Its color, [3] in 0 ... 1.
        radius: Half the side of the square around it, pixels.
        tilt: Turns a cube, -0.5 ... 0.5.

    Returns:
        Colors, already weighted by coverage [d, d, 3], and coverage [d, d] in 0 ... 1.
    """
    side = int(2 * radius) + 2
    axis = ((np.arange(side * _SAMPLES) + 0.5) / _SAMPLES - side / 2) / radius
    y, x = axis[:, None], axis[None, :]
    inside, lit, up = {"cube": _cube, "sphere": _sphere, "cylinder": _cylinder}[shape](x, y, tilt)
    lit = np.maximum(lit, 0)
    if material == "metal":
        # A mirror shows a bright sky above a dark ground, and the lamp as a white spot.
        sky = np.minimum(np.maximum(0.5 + 1.6 * up, 0), 1)
        spot = lit * lit
        spot *= spot
        spot *= spot
        spot *= spot  # lit ** 16
        tinted, white = 0.15 + 0.7 * lit + 0.5 * sky, 0.15 + 0.7 * spot
    else:
        # Rubber scatters light evenly; its surface is dimpled.
        dimples = (np.floor((x + y) * 4) + np.floor((x - y) * 4)) % 2
        tinted, white = (0.05 + 0.9 * lit) * (0.72 + 0.28 * dimples), np.zeros(1)
    cover = _average(inside.astype(np.float64))  # [d, d]
    tinted, white = _average(inside * tinted), _average(inside * white)
    colors = base * tinted[..., None] + white[..., None]
    return np.minimum(colors, cover[..., None]), cover


def _average(samples: Array) -> Array:
    """Mean of the samples of each pixel, added in a fixed order: [3d, 3d] to [d, d]."""
    rows = samples[0::3] + samples[1::3] + samples[2::3]
    total = rows[:, 0::3] + rows[:, 1::3] + rows[:, 2::3]
    return np.asarray(total / (_SAMPLES * _SAMPLES))


# Each shape gives where it is, how squarely it faces the light, and how much it faces up.


def _sphere(x: Array, y: Array, tilt: float) -> tuple[Mask, Array, Array]:
    del tilt
    square = x * x + y * y
    z = np.sqrt(np.maximum(1 - square, 0))
    return square <= 1, _LIGHT[0] * x + _LIGHT[1] * y + _LIGHT[2] * z, -y + 0 * x


def _cylinder(x: Array, y: Array, tilt: float) -> tuple[Mask, Array, Array]:
    """A standing cylinder seen from above: the lid and a rounded lower edge are ellipses."""
    del tilt
    half, height, flat = 0.55, 0.74, 0.24  # half width, of the axis, and of the ellipses
    u = x / half
    z = np.sqrt(np.maximum(1 - u * u, 0))
    rim = flat * z
    lid = np.abs(y + height) <= rim
    inside = (np.abs(u) <= 1) & (y >= -height - rim) & (y <= height + rim)
    lid_lit = -0.8 * _LIGHT[1] + 0.6 * _LIGHT[2]
    return inside, np.where(lid, lid_lit, _LIGHT[0] * u + _LIGHT[2] * z), np.where(lid, 0.8, 0.0)


def _cube(x: Array, y: Array, tilt: float) -> tuple[Mask, Array, Array]:
    """A cube in oblique projection, turned a little: front, top and right face."""
    t = 0.3 * tilt  # tan of half the angle
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    u, v = cos * x + sin * y, cos * y - sin * x
    near, depth = 1.28, 0.46  # sides of the front face, and shift of the back
    a, b = u + 0.87, v + 0.41  # from the upper left corner of the front face
    front = (a >= 0) & (a <= near) & (b >= 0) & (b <= near)
    top = (b < 0) & (b >= -depth) & (a + b >= 0) & (a + b <= near)
    right = (a > near) & (a <= near + depth) & (a + b >= near) & (a + b <= 2 * near)
    lit = [nx * _LIGHT[0] + ny * _LIGHT[1] + nz * _LIGHT[2] for nx, ny, nz in _CUBE_FACES]
    up = [-ny for _, ny, _ in _CUBE_FACES]
    return (
        front | top | right,
        np.where(top, lit[1], np.where(right, lit[2], lit[0])),
        np.where(top, up[1], np.where(right, up[2], up[0])),
    )

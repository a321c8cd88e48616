"""Drawing the demo's scenes: coloured solids on a background, by NumPy alone.

A picture depends on its seed and on nothing else. Everything between the random numbers and the
bytes is addition, multiplication, division and square root of float64, one rounding each, in a
fixed order: no trigonometry, no sums over arrays, no drawing library. So all machines draw the
same pixels.

Coordinates: x to the right, y downwards, from -1 to 1 over the square around an object. Light comes
from the upper left. A solid is sampled 3 x 3 times per pixel, so its outline is smooth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# The colours of CLEVR (its image_generation/data/properties.json), 0 ... 255.
COLORS = {
    "gray": (87, 87, 87),
    "red": (173, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 105, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
}
SHAPES = ("cube", "sphere", "cylinder")
MATERIALS = ("rubber", "metal")
SIZES = {"large": 0.145, "small": 0.115}  # half the side of the square, in image widths

MAX_OBJECTS = 9
MIN_VISIBLE = 0.5  # share of an object's pixels that no later object covers
_SAMPLES = 3
_LIGHT = (-0.48, -0.6, 0.64)  # unit vector towards the light; z towards the viewer
_TRIES = 30


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One solid: centre ``x, y`` and half width ``radius`` in pixels, and the visible share."""

    color: str
    shape: str
    material: str
    size: str
    x: int
    y: int
    radius: float
    visible: float = 1.0


def draw_scene(seed: int, index: int, size: int) -> tuple[NDArray[np.uint8], list[SceneObject]]:
    """Draw one scene.

    A scene favours some colours, shapes and materials, so that counts spread over more than 0
    and 1. Objects are drawn one over the other; each keeps at least half of its pixels visible.

    Args:
        seed: Of the whole set.
        index: Of the scene in the set.
        size: Width and height, pixels.

    Returns:
        Pixels uint8 [size, size, 3], and the objects in the order of drawing.
    """
    rng = np.random.default_rng([seed, index])
    image = _background(rng, size)  # [S, S, 3]
    light = 0.95 + 0.15 * rng.random()
    favours = {
        kind: _cumulated(rng.random(len(values)))
        for kind, values in (("color", COLORS), ("shape", SHAPES), ("material", MATERIALS))
    }
    owner = np.full((size, size), -1)  # which object is seen at a pixel
    area: list[int] = []
    objects: list[SceneObject] = []
    for _ in range(int(rng.integers(1, MAX_OBJECTS + 1))):
        color = list(COLORS)[_pick(rng, favours["color"])]
        shape = SHAPES[_pick(rng, favours["shape"])]
        material = MATERIALS[_pick(rng, favours["material"])]
        extent = list(SIZES)[int(rng.integers(2))]
        radius = SIZES[extent] * size * (0.9 + 0.2 * rng.random())
        base = np.array(COLORS[color]) / 255 * light
        colours, cover = _solid(shape, material, base, radius, tilt=rng.random() - 0.5)
        mask = cover > 0.5  # [d, d]
        side = len(mask)
        for x, y in rng.integers(0, size - side + 1, (_TRIES, 2)).tolist():
            window = (slice(y, y + side), slice(x, x + side))
            hidden = np.bincount(owner[window][mask] + 1, minlength=len(objects) + 1)[1:]
            seen = np.bincount(owner.ravel() + 1, minlength=len(objects) + 1)[1:]
            if np.all(seen - hidden >= MIN_VISIBLE * np.array(area)):
                _shade_ground(image, x, y, side)
                patch = image[window]
                patch *= 1 - cover[..., None]
                patch += colours
                owner[window][mask] = len(objects)
                area.append(int(mask.sum()))
                objects.append(
                    SceneObject(
                        color=color,
                        shape=shape,
                        material=material,
                        size=extent,
                        x=x + side // 2,
                        y=y + side // 2,
                        radius=radius,
                    )
                )
                break
    visible = np.bincount(owner.ravel() + 1, minlength=len(objects) + 1)[1:].tolist()
    objects = [
        replace(thing, visible=seen / whole)
        for thing, seen, whole in zip(objects, visible, area, strict=True)
    ]
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), objects


def _cumulated(weights: Array) -> list[float]:
    """Cumulated weights of a skewed choice, from uniform numbers; added one after the other."""
    out, total = [], 0.0
    for weight in weights.tolist():
        total += weight * weight * weight + 0.01
        out.append(total)
    return out


def _pick(rng: np.random.Generator, cumulated: list[float]) -> int:
    point = rng.random() * cumulated[-1]
    return next(i for i, edge in enumerate(cumulated) if point < edge or edge == cumulated[-1])


def _background(rng: np.random.Generator, size: int) -> Array:
    """A tinted gradient with a texture: [S, S, 3] in 0 ... 1.

    Level, tint and strength of the texture vary independently and widely: brightness,
    colourfulness and contrast of the pictures follow them.
    """
    level = 0.08 + 0.84 * rng.random()
    tint = (rng.random(3) - 0.5) * 0.3 * rng.random()
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1  # [S, S] each
    slope = (rng.random(2) - 0.5) * 0.5
    kind = int(rng.integers(3))
    if kind == 0:  # smooth noise: a coarse grid of random values, interpolated
        cells = int(rng.integers(3, 9))
        texture = _interpolate(rng.random((cells, cells)), size) * 2 - 1
    else:  # stripes or a checkerboard, with random direction and width
        a, b = rng.random(2) * 2 - 1
        width = 0.12 + 0.3 * rng.random()
        texture = np.floor((a * x + b * y) / width) % 2 * 2 - 1
        if kind == 2:
            texture *= np.floor((b * x - a * y) / width) % 2 * 2 - 1
    grey = level + slope[0] * x + slope[1] * y + 0.12 * rng.random() * texture
    return np.asarray(np.clip(grey[..., None] + tint, 0, 1))  # [S, S, 3]


def _interpolate(grid: Array, size: int) -> Array:
    """Bilinear interpolation of a square grid: [n, n] to [size, size]."""
    place = np.arange(size) / (size - 1) * (len(grid) - 1)
    low = np.minimum(place.astype(int), len(grid) - 2)
    part = place - low
    rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]  # [S, n]
    return np.asarray(rows[:, low] * (1 - part) + rows[:, low + 1] * part)


def _shade_ground(image: Array, x: int, y: int, side: int) -> None:
    """Darken an ellipse below and to the right of where an object will stand."""
    v, u = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    inside = (u - 0.12) * (u - 0.12) + (v - 0.35) * (v - 0.35) * 2.2
    shadow = 1 - 0.45 * np.clip(1.1 - inside, 0, 1)
    image[y : y + side, x : x + side] *= shadow[..., None]


def _solid(
    shape: str, material: str, base: Array, radius: float, tilt: float
) -> tuple[Array, Array]:
    """Draw one solid on nothing.

    Returns:
        Colours, already weighted by coverage [d, d, 3], and coverage [d, d] in 0 ... 1.
    """
    side = int(2 * radius) + 2
    axis = ((np.arange(side * _SAMPLES) + 0.5) / _SAMPLES - side / 2) / radius
    y, x = axis[:, None], axis[None, :]
    inside, normal = {"cube": _cube, "sphere": _sphere, "cylinder": _cylinder}[shape](x, y, tilt)
    facing = sum(n * part for n, part in zip(normal, _LIGHT, strict=True))
    lit = np.clip(facing, 0, 1)
    if material == "metal":
        # A mirror shows a bright sky above a dark ground, and the lamp as a white spot.
        sky = np.clip(0.5 - 1.6 * normal[1], 0, 1)
        spot = lit * lit
        spot *= spot
        spot *= spot
        spot *= spot  # lit ** 16
        colours = base * (0.15 + 0.7 * lit + 0.5 * sky)[..., None] + (0.15 + 0.7 * spot)[..., None]
    else:
        # Rubber scatters light evenly; its surface is dimpled.
        dimples = (np.floor((x + y) * 5) + np.floor((x - y) * 5)) % 2
        colours = base * ((0.05 + 0.9 * lit) * (0.76 + 0.24 * dimples))[..., None]
    cover = inside.astype(np.float64)
    return _average(np.clip(colours, 0, 1) * cover[..., None]), _average(cover)


def _average(samples: Array) -> Array:
    """Mean of the samples of each pixel, added in a fixed order: [3d, 3d, ...] to [d, d, ...]."""
    total = sum(samples[i::_SAMPLES, j::_SAMPLES] for i in range(_SAMPLES) for j in range(_SAMPLES))
    return np.asarray(total / (_SAMPLES * _SAMPLES))


def _sphere(x: Array, y: Array, tilt: float) -> tuple[NDArray[np.bool_], tuple[Array, ...]]:
    del tilt
    square = x * x + y * y
    z = np.sqrt(np.maximum(1 - square, 0))
    return square <= 1, (x + 0 * y, y + 0 * x, z)


def _cylinder(x: Array, y: Array, tilt: float) -> tuple[NDArray[np.bool_], tuple[Array, ...]]:
    """A standing cylinder seen from above: the lid and a rounded lower edge are ellipses."""
    del tilt
    half, height, flat = 0.55, 0.74, 0.24  # half width, of the axis, and of the ellipses
    u = x / half
    rim = flat * np.sqrt(np.maximum(1 - u * u, 0))
    lid = np.abs(y + height) <= rim
    inside = (np.abs(u) <= 1) & (y >= -height - rim) & (y <= height + rim)
    z = np.sqrt(np.maximum(1 - u * u, 0))
    up = (0.0, -0.8, 0.6)
    side = (u + 0 * y, 0 * y + 0 * x, z + 0 * y)
    return inside, tuple(np.where(lid, a, b) for a, b in zip(up, side, strict=True))


def _cube(x: Array, y: Array, tilt: float) -> tuple[NDArray[np.bool_], tuple[Array, ...]]:
    """A cube in oblique projection, turned a little: front, top and right face."""
    t = 0.3 * tilt  # tan of half the angle
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    u, v = cos * x + sin * y, cos * y - sin * x
    near, depth = 1.28, 0.46  # sides of the front face, and shift of the back
    a, b = u + 0.87, v + 0.41  # from the upper left corner of the front face
    front = (a >= 0) & (a <= near) & (b >= 0) & (b <= near)
    top = (b < 0) & (b >= -depth) & (a + b >= 0) & (a + b <= near)
    right = (a > near) & (a <= near + depth) & (a + b >= near) & (a + b <= 2 * near)
    faces = ((0.0, 0.0, 1.0), (-0.1, -0.9, 0.42), (0.9, 0.1, 0.42))
    normal = tuple(
        np.where(top, up, np.where(right, side, ahead))
        for ahead, up, side in zip(*faces, strict=True)
    )
    return front | top | right, normal

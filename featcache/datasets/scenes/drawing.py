"""Composing a scene: up to twelve solids on a background. A scene follows from its seed alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from featcache.datasets.scenes.backgrounds import cast_shadow, draw_background
from featcache.datasets.scenes.solids import MATERIALS, SHAPES, draw_solid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# The colors of CLEVR (its image_generation/data/properties.json), 0 ... 255.
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
SIZES = {"large": 0.13, "small": 0.09}  # half the side of the square, in image widths

MAX_OBJECTS = 12
MIN_VISIBLE = 0.5  # share of an object's pixels that no later object covers
_TRIES = 30


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One solid: center ``x, y`` and half width ``radius`` in pixels, and the visible share."""

    color: str
    shape: str
    material: str
    size: str
    x: int
    y: int
    radius: float
    visible: float = 1.0


def draw_scene(seed: int, index: int, size: int) -> tuple[NDArray[np.uint8], list[SceneObject]]:
    """Draw one scene as it is, without any degradation.

    Args:
        seed: Of the whole set; see `featcache.datasets.scenes.seeds`.
        index: Of the scene in the set.
        size: Width and height, pixels.

    Returns:
        Pixels uint8 [size, size, 3], and the objects in the order of drawing.
    """
    image, objects = compose(np.random.default_rng([seed, index]), size)
    return (image * 255 + 0.5).astype(np.uint8), objects


def compose(rng: np.random.Generator, size: int) -> tuple[Array, list[SceneObject]]:
    """Compose a scene of 1 to `MAX_OBJECTS` objects.

    A scene favors some colors, shapes, materials and sizes, so that counts spread over more than
    0 and 1. Objects are drawn one over the other; each keeps at least half of its pixels visible.

    Args:
        rng: Where all choices come from.
        size: Width and height, pixels.

    Returns:
        The picture, float64 [size, size, 3] in 0 ... 1, and the objects in the order of drawing.
    """
    image = draw_background(rng, size)  # [S, S, 3]
    light, shadow = 0.9 + 0.2 * rng.random(), 0.2 + 0.4 * rng.random()
    favors = {
        kind: _cumulated(rng.random(len(values)))
        for kind, values in (
            ("color", COLORS),
            ("shape", SHAPES),
            ("material", MATERIALS),
            ("size", SIZES),
        )
    }
    owner = np.zeros((size, size), np.int64)  # 1 + index of the object that is seen; 0: none
    area: list[int] = []
    seen = np.zeros(MAX_OBJECTS + 1, np.int64)  # pixels of each owner
    objects: list[SceneObject] = []
    for _ in range(int(rng.integers(1, MAX_OBJECTS + 1))):
        color = list(COLORS)[_pick(rng, favors["color"])]
        shape = SHAPES[_pick(rng, favors["shape"])]
        material = MATERIALS[_pick(rng, favors["material"])]
        extent = list(SIZES)[_pick(rng, favors["size"])]
        radius = SIZES[extent] * size * (0.88 + 0.24 * rng.random())
        base = np.array(COLORS[color]) / 255 * light
        colors, cover = draw_solid(shape, material, base, radius, tilt=rng.random() - 0.5)
        mask = cover > 0.5  # [d, d]
        side = len(mask)
        for x, y in rng.integers(0, size - side + 1, (_TRIES, 2)).tolist():
            window = (slice(y, y + side), slice(x, x + side))
            hidden = np.bincount(owner[window][mask], minlength=MAX_OBJECTS + 1)
            left = seen - hidden
            if all(left[1 + i] >= MIN_VISIBLE * whole for i, whole in enumerate(area)):
                cast_shadow(image[window], shadow)
                patch = image[window]
                patch *= 1 - cover[..., None]
                patch += colors
                area.append(int(mask.sum()))
                owner[window][mask] = len(area)
                seen = left
                seen[len(area)] = area[-1]
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
    objects = [
        replace(thing, visible=int(pixels) / whole)
        for thing, pixels, whole in zip(objects, seen[1:], area, strict=False)
    ]
    if rng.random() < 0.5:  # light from the upper right
        image = image[:, ::-1]
        objects = [replace(thing, x=size - 1 - thing.x) for thing in objects]
    return np.minimum(image, 1), objects


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

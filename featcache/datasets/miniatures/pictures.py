"""What miniatures show: photos of a quality, faces of an age, so many solids of a kind.

All of it is put together from `featcache.datasets.scenes`, whose pixels are the same everywhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from featcache.datasets.scenes import COLORS, MATERIALS, Look, compose, develop, draw_face
from featcache.datasets.scenes.backgrounds import cast_shadow, draw_background
from featcache.datasets.scenes.looks import CLEAN
from featcache.datasets.scenes.solids import draw_solid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

SIZE = 128  # width and height in pixels, of every picture

# Defect -> strength at its worst; see `featcache.datasets.scenes.Look`.
DEFECTS = {"blur": 0.026, "noise": 0.14, "blocks": 0.28}
_RADIUS = 0.085  # of a solid that is counted, in picture widths: twelve have room
_TRIES = 40


class Solid(NamedTuple):
    """What is drawn: a color of `COLORS` and a shape of `SHAPES`."""

    color: str
    shape: str


class Box(NamedTuple):
    """Where a solid is, in pixels from the upper left."""

    x: int
    y: int
    width: int
    height: int


def scene(rng: Generator, look: Look = CLEAN) -> Pixels:
    """Draw some solids as a camera with this look sees them: uint8 [S, S, 3]."""
    image, _ = compose(rng, SIZE)
    return develop(image, look, rng)


def face(rng: Generator, age: float) -> Pixels:
    """Draw a face of an age in years: uint8 [S, S, 3]."""
    return develop(draw_face(rng, age, SIZE), CLEAN, rng)


def flawed(rng: Generator, quality: float, **looks: float) -> Look:
    """Choose one defect, the weaker the higher the quality.

    Args:
        rng: Chooses which.
        quality: 0 (as bad as it gets) to 1 (without any).
        **looks: More of a `Look`, such as ``saturation``.
    """
    kind = list(DEFECTS)[int(rng.integers(len(DEFECTS)))]
    fields: dict[str, Any] = {kind: DEFECTS[kind] * (1 - quality), **looks}
    return Look(**fields)


def arrange(rng: Generator, solids: Sequence[Solid]) -> tuple[Pixels, list[Box]]:
    """Draw solids apart from each other, all of them to be seen.

    Args:
        rng: For place, material, light and background.
        solids: At most twelve.

    Returns:
        uint8 [S, S, 3], and where each solid is.
    """
    image = draw_background(rng, SIZE)  # [S, S, 3]
    centers: list[tuple[int, int]] = []
    boxes = []
    for solid in solids:
        material = MATERIALS[int(rng.integers(len(MATERIALS)))]
        radius = _RADIUS * SIZE * (0.9 + 0.2 * rng.random())
        base = np.array(COLORS[solid.color]) / 255 * (0.9 + 0.2 * rng.random())
        colors, cover = draw_solid(solid.shape, material, base, radius, tilt=rng.random() - 0.5)
        side = len(cover)
        places = rng.integers(0, SIZE - side + 1, (_TRIES, 2)).tolist()
        x, y = max(places, key=lambda place: _room(place, centers))
        centers.append((x, y))
        window = image[y : y + side, x : x + side]  # [d, d, 3]
        cast_shadow(window, 0.4)
        window *= 1 - cover[..., None]
        window += colors
        boxes.append(Box(x, y, side, side))
    return develop(np.minimum(image, 1), CLEAN, rng), boxes


def _room(place: Sequence[int], others: Sequence[tuple[int, int]]) -> int:
    """Square of the distance to the nearest of the others."""
    return min(((place[0] - x) ** 2 + (place[1] - y) ** 2 for x, y in others), default=0)


def ratings(rng: Generator, share: float, *, raters: int, grades: int) -> list[int]:
    """Let people rate what has a true value: how many give each grade.

    Args:
        rng: For their differences.
        share: The true value, 0 (the lowest grade) to 1 (the highest).
        raters: How many people.
        grades: How many grades.
    """
    steps = (rng.random((raters, grades - 1)) < share).sum(axis=1)  # [raters], binomial
    return [int(count) for count in np.bincount(steps, minlength=grades)]


def mean_rating(counts: Sequence[int], grades: Sequence[float]) -> float:
    """Return the mean of ratings; ``counts`` and ``grades`` are of one length."""
    total = sum(counts)
    return sum(count * grade for count, grade in zip(counts, grades, strict=True)) / total


def spread_of(counts: Sequence[int], grades: Sequence[float]) -> float:
    """Return the standard deviation of ratings."""
    mean = mean_rating(counts, grades)
    return math.sqrt(mean_rating(counts, [(grade - mean) ** 2 for grade in grades]))

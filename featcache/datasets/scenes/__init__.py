"""Drawn scenes: colored solids on a background, and what a camera may do to them.

`drawing` composes a scene, `solids` and `backgrounds` draw its parts, `looks` degrades a picture
(blur, noise, blocks, exposure, film by decade), `faces` draws faces of an age, `seeds` says whose
scenes are whose.

All of it is frozen: the embedded CLIP was trained on these pixels, and tests pin their digests.
Everything between the random numbers and the bytes is addition, multiplication, division, square
root, floor and comparison of float64, one rounding each, in a fixed order: no trigonometry, no
sums over arrays, no drawing library, no codec. So all machines draw the same pixels.
"""

from featcache.datasets.scenes.drawing import (
    COLORS,
    MAX_OBJECTS,
    MIN_VISIBLE,
    SIZES,
    SceneObject,
    compose,
    draw_scene,
)
from featcache.datasets.scenes.faces import draw_face
from featcache.datasets.scenes.looks import CLEAN, DECADES, Look, develop, random_look
from featcache.datasets.scenes.solids import MATERIALS, SHAPES

__all__ = [
    "CLEAN",
    "COLORS",
    "DECADES",
    "MATERIALS",
    "MAX_OBJECTS",
    "MIN_VISIBLE",
    "SHAPES",
    "SIZES",
    "Look",
    "SceneObject",
    "compose",
    "develop",
    "draw_face",
    "draw_scene",
    "random_look",
]

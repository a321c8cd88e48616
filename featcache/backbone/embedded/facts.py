"""What is true of a scene: a row of numbers, and statements about them that hold or do not.

A scene's truth is a float32 row [K], one number per feature: how many objects there are of each
category (a color, shape, material or size, or two of them), how bright, sharp, noisy it is, the
year of its film. A `Fact` says that one feature lies in an interval, so whether any caption holds
for any image of a batch is arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np

from featcache.datasets.scenes import COLORS, MATERIALS, SHAPES, SIZES
from featcache.datasets.scenes.looks import FILMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from featcache.datasets.scenes import Look, SceneObject

    Truth = NDArray[np.float32]  # [B, K]

ATTRIBUTES = {
    "size": tuple(SIZES),
    "color": tuple(COLORS),
    "material": MATERIALS,
    "shape": SHAPES,
}

# A category is a tuple of attribute values, e.g. () for every object, ("red",), ("red", "cube").
Category = tuple[str, ...]
SINGLE: tuple[Category, ...] = tuple((v,) for values in ATTRIBUTES.values() for v in values)
CATEGORIES: tuple[Category, ...] = (
    (),
    *SINGLE,
    *(
        pair
        for first, second in combinations(ATTRIBUTES.values(), 2)
        for pair in product(first, second)
    ),
)
# Measures of the finished picture and of its look; quality falls with every degradation.
SCALES = ("brightness", "contrast", "colorfulness", "blur", "noise", "blocks", "quality", "year")
FEATURES: tuple[Category | str, ...] = (*CATEGORIES, *SCALES)
INDEX = {feature: i for i, feature in enumerate(FEATURES)}
HAS_COLOR = np.array([isinstance(f, tuple) and bool(set(f) & set(COLORS)) for f in FEATURES])

NO_FILM_YEAR = 2020  # of a picture without a film's look
_MIN_SATURATION = 0.3  # with less, colors cannot be told apart


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A statement: feature number ``feature`` lies within ``low`` and ``high``.

    Attributes:
        text: The statement as a part of a caption.
        role: Where it stands in a caption: ``object``, ``adjective`` or ``time``.
        feature: Index in `FEATURES`.
        low: Smallest value for which it holds.
        high: Largest value for which it holds.
        margin: Beyond the interval by no more than this, it neither holds nor fails.
        source: What it was made of, for making one that differs from it.
    """

    text: str
    role: str
    feature: int
    low: float
    high: float
    margin: float = 0.0
    source: tuple[str, object, object]


def truth_of(
    objects: Sequence[SceneObject], look: Look, measures: Mapping[str, float]
) -> NDArray[np.float32]:
    """Return a scene's row of truth.

    Args:
        objects: What was drawn.
        look: What happened to the picture.
        measures: Of the finished picture, from `featcache.images.measures.measure`.

    Returns:
        float32 [K]. Counts of colors are NaN where the picture has lost its colors.
    """
    kinds = [{thing.size, thing.color, thing.material, thing.shape} for thing in objects]
    counts = [float(sum(kind.issuperset(category) for kind in kinds)) for category in CATEGORIES]
    film = FILMS[look.decade] if look.decade is not None else None
    noise = max(look.noise, film.grain if film else 0.0)
    exposure = max(look.exposure, 1 / look.exposure) - 1
    quality = -(look.blur / 0.012 + look.noise / 0.06 + look.blocks / 0.12 + exposure)
    row = np.array(
        [
            *counts,
            measures["brightness"],
            measures["contrast"],
            measures["colourfulness"],
            look.blur,
            noise,
            look.blocks,
            quality,
            NO_FILM_YEAR if look.decade is None else look.decade,
        ],
        np.float32,
    )
    if look.saturation * (film.saturation if film else 1.0) < _MIN_SATURATION:
        row[HAS_COLOR] = np.nan
    return row


def hold(captions: Sequence[Sequence[Fact]], truth: Truth) -> NDArray[np.float32]:
    """Say which captions hold for which images.

    Args:
        captions: T captions, each of one fact or more; a caption holds when all of them do.
        truth: float32 [B, K].

    Returns:
        float32 [B, T]: 1 where it holds, 0 where a fact fails, NaN where neither is sure.
    """
    longest = max(len(facts) for facts in captions)
    anything = Fact(text="", role="", feature=0, low=-np.inf, high=np.inf, source=("", 0, 0))
    rows = [[*facts, *[anything] * (longest - len(facts))] for facts in captions]

    def column(name: str) -> NDArray[np.float32]:
        return np.array([[getattr(f, name) for f in row] for row in rows], np.float32)  # [T, n]

    value = truth[:, column("feature").astype(int)]  # [B, T, n]
    low, high, margin = column("low"), column("high"), column("margin")
    inside = (value >= low) & (value <= high)  # NaN is not inside
    inside |= np.isinf(low) & np.isinf(high)
    outside = (value < low - margin) | (value > high + margin)  # NaN is not outside
    result = np.where(inside.all(-1), 1.0, np.where(outside.any(-1), 0.0, np.nan))
    return result.astype(np.float32)

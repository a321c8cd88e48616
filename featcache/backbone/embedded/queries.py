"""Prompts that order images, each with the feature that it orders by.

Among them are all prompts that this project ranks drawn scenes by: `featcache.datasets.queries`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from featcache.backbone.embedded.facts import CATEGORIES, INDEX
from featcache.backbone.embedded.words import SCALES
from featcache.datasets import queries
from featcache.datasets.scenes import COLORS, MATERIALS, SHAPES

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, kw_only=True)
class Query:
    """A prompt; images further up its order have more of the feature, or less if ``sign`` is -1."""

    text: str
    feature: int
    sign: int = 1


# Words for a feature in "sort images by ...", and the direction; some count twice.
_NOUNS = (
    ("brightness", "brightness", 1),
    ("lightness", "brightness", 1),
    ("contrast", "contrast", 1),
    ("colorfulness", "colorfulness", 1),
    ("color", "colorfulness", 1),
    ("noisiness", "noise", 1),
    ("noise", "noise", 1),
    ("age of the photo", "year", -1),
    ("sharpness", "blur", -1),
)
_QUALITY = ("mean opinion score", "quality", "aesthetics")


@cache
def all_queries() -> tuple[Query, ...]:
    """Return every query; those that this project asks for come several times."""
    return (
        *(q for q in _attributes() for _ in range(3)),
        *_counts(),
        *_levels(),
        *_properties(),
        *[Query(text=queries.DATE, feature=INDEX["year"])] * 4,
    )


def _attributes() -> Iterator[Query]:
    for kind, values in (("color", COLORS), ("material", MATERIALS), ("shape", SHAPES)):
        for value in values:
            yield Query(text=queries.count_attribute(kind, value), feature=INDEX[value,])


def _counts() -> Iterator[Query]:
    for category in CATEGORIES:
        shape = next((v for v in category if v in SHAPES), "object")
        thing = " ".join((*(v for v in category if v != shape), f"{shape}s"))
        for text, sign in (
            (queries.count(thing), 1),
            (f"number of {thing}.", 1),
            (f"many {thing}.", 1),
            (f"few {thing}.", -1),
        ):
            yield Query(text=text, feature=INDEX[category], sign=sign)


def _levels() -> Iterator[Query]:
    for name, scale in SCALES.items():
        for words, sign in ((scale.high, 1), (scale.low, -1)):
            for word in words:
                yield Query(text=f"{word} photo.", feature=INDEX[name], sign=sign)
                yield Query(text=f"a {word} photo.", feature=INDEX[name], sign=sign)


def _properties() -> Iterator[Query]:
    for word, name, sign in _NOUNS:
        for text in (queries.quality(word), f"sort images by {word}.", f"{word}."):
            for _ in range(2):
                yield Query(text=text, feature=INDEX[name], sign=sign)
    for word in _QUALITY:
        for text in (queries.quality(word), f"sort images by {word}."):
            for _ in range(2):
                yield Query(text=text, feature=INDEX["quality"])

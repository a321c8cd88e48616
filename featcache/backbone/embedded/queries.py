"""Prompts that order images, each with the feature that it orders by.

Among them are all prompts that this project ranks drawn scenes by: `featcache.datasets.queries`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from featcache.backbone.embedded.captions import SCALES
from featcache.backbone.embedded.facts import CATEGORIES, INDEX
from featcache.datasets import queries
from featcache.datasets.scenes import COLORS, MATERIALS, SHAPES


@dataclass(frozen=True, kw_only=True)
class Query:
    """A prompt; images further up its order have more of the feature, or less if ``sign`` is -1."""

    text: str
    feature: int
    sign: int = 1


_NOUNS = {
    "brightness": ("brightness", "lightness"),
    "contrast": ("contrast",),
    "colorfulness": ("colorfulness", "color"),
    "noise": ("noisiness", "noise"),
    "year": ("age of the photo",),
}
_QUALITY = ("mean opinion score", "quality", "aesthetics")


@cache
def all_queries() -> tuple[Query, ...]:
    """Return every query."""
    out = []

    def add(text: str, feature: object, sign: int = 1) -> None:
        out.append(Query(text=text, feature=INDEX[feature], sign=sign))  # type: ignore[index]

    for kind, values in (("color", COLORS), ("material", MATERIALS), ("shape", SHAPES)):
        for value in values:
            for _ in range(3):  # as often as the other wordings together
                add(queries.count_attribute(kind, value), (value,))
    for category in CATEGORIES:
        shape = next((v for v in category if v in SHAPES), None)
        thing = " ".join((*(v for v in category if v != shape), f"{shape or 'object'}s"))
        add(queries.count(thing), category)
        add(f"number of {thing}.", category)
        add(f"many {thing}.", category)
        add(f"few {thing}.", category, -1)
    for name, scale in SCALES.items():
        for word in scale.high:
            for text in (f"{word} photo.", f"a {word} photo."):
                add(text, name)
        for word in scale.low:
            for text in (f"{word} photo.", f"a {word} photo."):
                add(text, name, -1)
    for name, nouns in _NOUNS.items():
        for word in nouns:
            sign = -1 if name == "year" else 1
            for text in (queries.quality(word), f"sort images by {word}.", f"{word}."):
                add(text, name, sign)
                add(text, name, sign)
    for word in ("sharpness",):
        for text in (queries.quality(word), f"sort images by {word}.", f"{word}."):
            add(text, "blur", -1)
            add(text, "blur", -1)
    for word in _QUALITY:
        for text in (queries.quality(word), f"sort images by {word}."):
            add(text, "quality")
            add(text, "quality")
    for _ in range(4):
        add(queries.DATE, "year")
    return tuple(out)

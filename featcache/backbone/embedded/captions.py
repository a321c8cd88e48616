"""Facts in words: captions of drawn scenes, several wordings of each fact.

A caption has one to four facts: "a blurry, dark photo of three red cubes and a metal sphere, taken
in the 1950s." `describe` makes one that holds for a scene, `alter` one that differs from it in a
single fact and does not hold: a hard negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from featcache.backbone.embedded.facts import (
    ATTRIBUTES,
    CATEGORIES,
    INDEX,
    NO_FILM_YEAR,
    SINGLE,
    Fact,
)
from featcache.backbone.embedded.words import (
    DECADE_WORDS,
    NOUNS,
    NUMBERS,
    QUANTITIES,
    SCALES,
    WORDS,
)
from featcache.datasets.scenes import COLORS, DECADES, MATERIALS, MAX_OBJECTS, SHAPES

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from featcache.backbone.embedded.facts import Category

MAX_FACTS = 4
_INFINITY = float("inf")
_T = TypeVar("_T")


def describe(rng: Generator, row: NDArray[np.float32], facts: int | None = None) -> list[Fact]:
    """Choose facts that hold for a scene.

    Args:
        rng: Where the choices come from.
        row: The scene's truth, float32 [K].
        facts: How many; None: one to `MAX_FACTS`, often few.
    """
    if facts is None:
        facts = 1 + int(np.searchsorted((0.35, 0.65, 0.88), rng.random()))
    chosen: list[Fact] = []
    taken: set[object] = set()
    while len(chosen) < facts:
        fact = _object_fact(rng, row) if rng.random() < 0.68 else _look_fact(rng, row)
        if fact is not None and fact.feature not in taken:
            taken.add(fact.feature)
            chosen.append(fact)
    return chosen


def alter(rng: Generator, facts: list[Fact], row: NDArray[np.float32]) -> list[Fact]:
    """Replace one fact by a similar one that does not hold: another count, another color."""
    place = int(rng.integers(len(facts)))
    kind, what, value = facts[place].source
    if kind == "count":
        assert isinstance(what, tuple)
        assert isinstance(value, int)
        step = int(rng.integers(1, 3)) * (1 if rng.random() < 0.5 else -1)
        new = count_fact(rng, what, value + step if value + step >= 0 else value + abs(step))
    elif kind == "presence":
        absent = [c for c in CATEGORIES if row[INDEX[c]] == 0]
        assert isinstance(what, tuple)
        near = [c for c in absent if len(c) == len(what) and (len(c) < 2 or set(c) & set(what))]
        pool = near or absent
        new = (
            presence_fact(rng, _choose(rng, pool))
            if pool
            else count_fact(rng, what, int(row[INDEX[what]]) + 1)
        )
    elif kind == "decade":
        new = decade_fact(rng, _choose(rng, [d for d in DECADES if d != value]))
    elif kind == "gray":
        new = gray_fact(rng, not value)
    elif kind == "quantity":
        new = quantity_fact(rng, not value)
    else:
        assert isinstance(what, str)
        new = level_fact(rng, what, not value)
    return [*facts[:place], new, *facts[place + 1 :]]


def _object_fact(rng: Generator, row: NDArray[np.float32]) -> Fact | None:
    chance = rng.random()
    if chance < 0.08:
        total = row[INDEX[()]]
        if total >= QUANTITIES.above or total <= QUANTITIES.below:
            return quantity_fact(rng, bool(total >= QUANTITIES.above))
    pool = ((),) if chance < 0.2 else SINGLE if chance < 0.65 else CATEGORIES
    category = _choose(rng, pool)
    if row[INDEX[category]] == 0 and rng.random() < 0.7:  # mostly of what is there
        present = [c for c in pool if row[INDEX[c]] > 0]
        category = _choose(rng, present) if present else category
    count = row[INDEX[category]]
    if np.isnan(count):
        return None
    if count > 0 and category and rng.random() < 0.4:
        return presence_fact(rng, category)
    return count_fact(rng, category, int(count))


def _look_fact(rng: Generator, row: NDArray[np.float32]) -> Fact | None:
    year = row[INDEX["year"]]
    if year != NO_FILM_YEAR and rng.random() < 0.35:
        return decade_fact(rng, int(year))
    if rng.random() < 0.06:
        gray = row[INDEX["colorfulness"]]
        return gray_fact(rng, bool(gray < 4)) if gray < 4 or gray > 12 else None
    name = _choose(rng, tuple(SCALES))
    scale, value = SCALES[name], row[INDEX[name]]
    if scale.below < value < scale.above:
        return None
    return level_fact(rng, name, bool(value >= scale.above))


def count_fact(rng: Generator, category: Category, count: int) -> Fact:
    """Exactly so many of a category."""
    if count == 0:
        text = f"no {noun(rng, category, plural=True)}"
    else:
        in_words = rng.random() < 0.5 and count < len(NUMBERS)
        number = NUMBERS[count] if in_words else str(count)
        exactly = "exactly " if rng.random() < 0.12 else ""
        text = f"{exactly}{number} {noun(rng, category, plural=count != 1)}"
    return Fact(
        text=text,
        role="object",
        feature=INDEX[category],
        low=count - 0.5,
        high=count + 0.5,
        source=("count", category, count),
    )


def presence_fact(rng: Generator, category: Category) -> Fact:
    """At least one of a category."""
    word = noun(rng, category, plural=False)
    return Fact(
        text=f"{_article(word)} {word}",
        role="object",
        feature=INDEX[category],
        low=0.5,
        high=_INFINITY,
        source=("presence", category, None),
    )


def quantity_fact(rng: Generator, high: bool) -> Fact:
    """Many objects, or few."""
    words = _choose(rng, QUANTITIES.high if high else QUANTITIES.low)
    return Fact(
        text=f"{words} {noun(rng, (), plural=True)}",
        role="object",
        feature=INDEX[()],
        low=QUANTITIES.above if high else 0,
        high=MAX_OBJECTS if high else QUANTITIES.below,
        margin=QUANTITIES.margin,
        source=("quantity", None, high),
    )


def level_fact(rng: Generator, name: str, high: bool) -> Fact:
    """A scale's high or low end, as an adjective of the photo."""
    scale = SCALES[name]
    return Fact(
        text=_choose(rng, scale.high if high else scale.low),
        role="adjective",
        feature=INDEX[name],
        low=scale.above if high else -_INFINITY,
        high=_INFINITY if high else scale.below,
        margin=scale.margin,
        source=("level", name, high),
    )


def gray_fact(rng: Generator, gray: bool) -> Fact:
    """Black and white, or in color."""
    words = ("black and white", "monochrome", "gray") if gray else ("color",)
    return Fact(
        text=_choose(rng, words),
        role="adjective",
        feature=INDEX["colorfulness"],
        low=-1 if gray else 12,
        high=4 if gray else _INFINITY,
        margin=8,
        source=("gray", None, gray),
    )


def decade_fact(rng: Generator, decade: int) -> Fact:
    """The decade of the film."""
    when = DECADE_WORDS[decade] if rng.random() < 0.25 else f"{decade}s"
    return Fact(
        text=f"{_choose(rng, ('taken in', 'taken in', 'from', 'of'))} the {when}",
        role="time",
        feature=INDEX["year"],
        low=decade - 0.5,
        high=decade + 0.5,
        source=("decade", None, decade),
    )


def render(rng: Generator, facts: list[Fact]) -> str:
    """Put facts into one caption."""
    objects = [fact.text for fact in facts if fact.role == "object"]
    adjectives = [fact.text for fact in facts if fact.role == "adjective"]
    times = [fact.text for fact in facts if fact.role == "time"]
    things = _join(objects)
    if objects and not adjectives and not times and rng.random() < 0.35:  # without "a photo of"
        there = "there is" if objects[0].startswith(("a ", "an ", "one ")) else "there are"
        return _choose(rng, (f"{things}.", f"{there} {things}."))
    photo = _choose(rng, ("photo", "photo", "picture", "image"))
    head = " ".join((", ".join(adjectives), photo)) if adjectives else photo
    if not objects and not times and rng.random() < 0.5:
        return f"{head}."
    text = f"{_article(head)} {head}"
    if objects:
        text += f" {_choose(rng, ('of', 'with', 'of'))} {things}"
    if times:
        text += f"{',' if objects else ''} {times[0]}"
    return f"{text}."


def noun(rng: Generator, category: Category, *, plural: bool) -> str:
    """Name a category, e.g. "large red cubes", "objects in red"."""
    if len(category) == 1 and category[0] not in ATTRIBUTES["size"] and rng.random() < 0.15:
        (value,) = category
        after = (
            "in" if value in COLORS else "made of" if value in MATERIALS else "in the shape of a"
        )
        return f"{'objects' if plural else 'object'} {after} {value}"
    shape = next((v for v in category if v in SHAPES), None)
    words = [_choose(rng, WORDS.get(v, (v,))) for v in category if v != shape]
    name = _choose(rng, WORDS[shape]) if shape else _choose(rng, NOUNS)
    name += ("es" if name.endswith("x") else "s") if plural else ""
    return " ".join((*words, name))


def _join(parts: list[str]) -> str:
    *some, last = parts or [""]
    return f"{', '.join(some)} and {last}" if some else last


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


def _choose(rng: Generator, values: tuple[_T, ...] | list[_T]) -> _T:
    return values[int(rng.integers(len(values)))]

"""Class words and opposite prompts for a query that brings none: derived from its labels.

A recipe gives its classes and prompts itself. A user with a table of labels has a query and
numbers; what a method needs beyond that is made here, in plain words, and can be replaced.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adapter.errors import LabelsError
from adapter.methods.antonyms import ATTRIBUTES, Pair

if TYPE_CHECKING:
    from adapter.methods.method import Array

MOST_VALUES = 30  # different whole labels up to which each is a class of its own
BINS = 10
QUALITY_STEPS = ("bad", "poor", "fair", "good", "excellent")
LEVEL_STEPS = ("very low", "low", "medium", "high", "very high")
COUNT_STEPS = ("no", "few", "several", "many", "very many")

_PREFIX = re.compile(r"^(?:sort|rank|order)\s+(?:the\s+)?(?:images|photos|pictures)\s+by\s+", re.I)
_COUNTED = re.compile(r"\b(?:number|count)s?\s+of\s+(.+)$", re.I)
_QUALITY = re.compile(r"^(?:the\s+)?image\s+quality\s+of\s+", re.I)


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a query's classes are called.

    Attributes:
        values: float64 [K], ascending.
        names: K short names.
        prompts: K whole prompts.
        antonyms: A prompt of the high end and one of the low end.
        binned: The values are centers of bins.
    """

    values: Array
    names: tuple[str, ...]
    prompts: tuple[str, ...]
    antonyms: Pair
    binned: bool


def subject_of(query: str) -> str:
    """Return what a query sorts by, such as ``number of cats``."""
    subject = _PREFIX.sub("", query.strip()).rstrip(".").strip()
    return re.sub(r"^(?:the|its|their)\s+", "", subject) or "quality"


def counted_of(query: str) -> str | None:
    """Return what a query counts, such as ``cats``; None where it counts nothing."""
    found = _COUNTED.search(subject_of(query))
    return found[1] if found else None


def property_of(query: str) -> str:
    """Return what a query measures, without "image quality of"."""
    return _QUALITY.sub("", subject_of(query))


def tells_age(query: str) -> bool:
    """Tell whether a query asks how old somebody is."""
    return re.search(r"\bages?\b", subject_of(query), re.I) is not None


def steps_of(query: str) -> tuple[str, ...]:
    """Return words for five equal parts of a query's scale, the lowest first."""
    if counted := counted_of(query):
        return tuple(f"{word} {counted}" for word in COUNT_STEPS)
    measured = property_of(query)
    judged = measured in ("mean opinion score", "image quality", "quality", "aesthetics")
    return QUALITY_STEPS if judged else LEVEL_STEPS


def antonyms_of(query: str) -> Pair:
    """Return a pair of opposite prompts for a query, the high end first."""
    if counted := counted_of(query):
        return f"a photo of many {counted}.", f"a photo without {counted}."
    measured = property_of(query)
    if measured in ("mean opinion score", "image quality"):
        measured = "quality"
    if measured in ATTRIBUTES:
        return ATTRIBUTES[measured]
    return f"a photo with a high {measured}.", f"a photo with a low {measured}."


def derive_words(query: str, values: Array) -> Words:
    """Name the classes of a query by its training labels.

    Up to thirty different whole numbers are classes of their own; other labels fall into ten bins
    of equal width between the smallest and the largest.

    Args:
        query: The prompt.
        values: float64 [n], training labels.

    Raises:
        LabelsError: All labels are equal, so there is nothing to tell apart.
    """
    found = np.unique(values)
    if len(found) < 2:
        raise LabelsError(
            f"query {query!r}: all training labels are {found[0]:g}"
            if len(found)
            else f"query {query!r}: there are no training labels"
        )
    binned = len(found) > MOST_VALUES or bool((found != np.round(found)).any())
    if binned:
        edges = np.linspace(found[0], found[-1], BINS + 1)
        classes = (edges[1:] + edges[:-1]) / 2
        names = tuple(f"{edges[i]:g} to {edges[i + 1]:g}" for i in range(BINS))
    else:
        classes, names = found.astype(np.float64), tuple(f"{value:g}" for value in found)
    counted = counted_of(query)
    wording = f"a photo of {{}} {counted}." if counted else f"{subject_of(query)}: {{}}."
    return Words(
        values=classes,
        names=names,
        prompts=tuple(wording.format(name) for name in names),
        antonyms=antonyms_of(query),
        binned=binned,
    )

"""What the labels of data sets with a name mean: class words, opposite prompts, the scale.

A fit on a cache of one of them takes these, and so do the recipes of the papers' tables. The
words are this project's where the papers print none (Adience, HCI).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from adapter.methods.words import Words, derive_words
from featcache.datasets.queries import AGE, AGE_GROUP, DATE, quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.methods.antonyms import Pair
    from adapter.methods.method import Array

Scale = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a query's labels.

    Attributes:
        antonyms: Prompts of the high and of the low end.
        values: K values of classes, ascending; empty where labels are any numbers.
        names: K short names.
        prompt: Prompt of a class, with {} for its name.
        scale: Lowest and highest value that a label can have; None takes the classes.
    """

    antonyms: Pair
    values: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    prompt: str = ""
    scale: Scale | None = None


ADIENCE = Known(
    values=tuple(float(group) for group in range(8)),
    names=(
        "0 to 2 years old",
        "4 to 6 years old",
        "8 to 13 years old",
        "15 to 20 years old",
        "25 to 32 years old",
        "38 to 43 years old",
        "48 to 53 years old",
        "60 to 100 years old",
    ),
    prompt="a photo of a person {}.",
    antonyms=("a photo of an old person.", "a photo of a young child."),
)

HCI = Known(
    values=tuple(float(decade) for decade in range(5)),
    names=("1930s", "1940s", "1950s", "1960s", "1970s"),
    prompt="a photo taken in the {}.",
    antonyms=("a photo taken in the 1970s.", "a photo taken in the 1930s."),
)

_YEARS = range(21, 61)
UTKFACE = Known(
    values=tuple(float(year) for year in _YEARS),
    names=tuple(f"{year} years old" for year in _YEARS),
    prompt="a photo of a person {}.",
    antonyms=("a photo of an old person.", "a photo of a young person."),
)

# Scales that opinion scores are given on.
SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "koniq10k": (0.0, 100.0),
        "ava": (1.0, 10.0),
        "live-itw": (0.0, 100.0),
        "spaq": (0.0, 100.0),
        "tid2013": (0.0, 9.0),
        "aadb": (0.0, 1.0),
        "para": (1.0, 5.0),
        "agiqa-3k": (0.0, 5.0),
    }
)
QUALITY_PAIR: Pair = ("Good photo.", "Bad photo.")


def known_labels(dataset: str, query: str) -> Known | None:
    """Return what is known of a query of a data set; None where nothing is."""
    found = {
        ("adience", AGE_GROUP): ADIENCE,
        ("hci", DATE): HCI,
        ("utkface", AGE): UTKFACE,
    }.get((dataset, query))
    score = quality("aesthetics") if dataset == "para" else quality()
    if found is None and dataset in SCALES and query == score:
        return Known(antonyms=QUALITY_PAIR, scale=SCALES[dataset])
    return found


def words_of(dataset: str, query: str, values: Array) -> tuple[Words, Scale | None]:
    """Name the classes of a query, and say which scale its labels have.

    What is known of the data set counts as far as it holds the labels; the rest is derived from
    them (:func:`adapter.methods.words.derive_words`).

    Args:
        dataset: Name of the data set.
        query: The prompt.
        values: float64 [n], training labels.

    Raises:
        LabelsError: All labels are equal.
    """
    words, known = derive_words(query, values), known_labels(dataset, query)
    if known is None:
        return words, None
    scale = known.scale
    if scale is not None and (values.min() < scale[0] or values.max() > scale[1]):
        scale = None
    words = replace(words, antonyms=known.antonyms)
    if known.values and np.isin(values, known.values).all():
        words = replace(
            words,
            values=np.array(known.values),
            names=known.names,
            prompts=tuple(known.prompt.format(name) for name in known.names),
            binned=False,
        )
        scale = (known.values[0], known.values[-1])
    return words, scale

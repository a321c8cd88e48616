"""Captions that enumerate what can be seen: counts in whole numbers, values in bins, class names.

"CLIP (fine-tuned)" and CountingCLIP compare an image with one caption per possible answer. The
wording of counts and of attributes is the ranking-aware paper's (section 4.3 and its Table 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from adapter.methods.words import counted_of, property_of

if TYPE_CHECKING:
    from adapter.methods.method import Array, FoldData

Kind = Literal["count", "value", "class"]
LARGEST_COUNT = 100
BINS = 10


@dataclass(frozen=True, kw_only=True)
class Captions:
    """The captions of one query.

    Attributes:
        texts: One per answer.
        values: float64 [K], what each answer stands for, ascending.
    """

    texts: tuple[str, ...]
    values: Array

    def classes_of(self, values: Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return the number int64 [n] of the caption whose value is nearest."""
        edges = (self.values[1:] + self.values[:-1]) / 2
        return np.searchsorted(edges, values, side="right").astype(np.int64)


def kind_of(query: str, values: Array) -> Kind:
    """Tell what a query's labels are: counts, any numbers, or classes."""
    whole = bool((values == np.round(values)).all() and values.min() >= 0)
    if whole and counted_of(query):
        return "count"
    return "class" if whole and len(np.unique(values)) <= LARGEST_COUNT + 1 else "value"


def captions_for(data: FoldData, kind: Kind | None = None) -> Captions:
    """Enumerate the answers of a fold's query.

    Counts give "A photo of {n} {category}." for n = 0 ... 100; values give ten bins of the scale
    that the training labels span, "The {property} of the image is higher than 0.1 and lower than
    0.2."; classes give the fold's own prompts.

    Args:
        data: The fold.
        kind: As :func:`kind_of` when left out.
    """
    kind = kind or ("value" if data.binned else kind_of(data.query, data.train.values))
    if kind == "count":
        category = counted_of(data.query) or "objects"
        numbers = range(LARGEST_COUNT + 1)
        return Captions(
            texts=tuple(f"A photo of {n} {category}." for n in numbers),
            values=np.arange(LARGEST_COUNT + 1, dtype=np.float64),
        )
    if kind == "class":
        return Captions(texts=data.class_prompts, values=data.class_values)
    low, high = float(data.train.values.min()), float(data.train.values.max())
    edges = np.linspace(low, high, BINS + 1)
    return Captions(
        texts=bin_captions(property_of(data.query)), values=(edges[1:] + edges[:-1]) / 2
    )


def bin_captions(what: str, bins: int = BINS) -> tuple[str, ...]:
    """Return the captions of equal bins of a property that is scaled to 0 ... 1."""
    edges = [f"{edge / bins:g}" for edge in range(bins + 1)]
    return tuple(
        f"The {what} of the image is higher than {edges[i]} and lower than {edges[i + 1]}."
        for i in range(bins)
    )

"""One query of a cache as a method is given it, outside of any recipe."""

from __future__ import annotations

from functools import cache as once
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import numpy as np

from adapter.data.labels import select_labels
from adapter.errors import LabelsError
from adapter.methods.method import FoldData, ImageVectors, Part
from adapter.methods.words import derive_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.methods.antonyms import Pair
    from adapter.methods.text import SoftText
    from featcache.reading.cache import Cache


def fold_of(
    cache: Cache,
    query: str,
    *,
    split: str | Sequence[str] = "train",
    test_split: str | Sequence[str] = "test",
    fold: int | None = None,
    seed: int = 0,
    antonyms: Pair | None = None,
    scale: tuple[float, float] | None = None,
    device: str = "cpu",
    folder: Path | None = None,
    text: Callable[[], SoftText] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, steps: None,
) -> FoldData:
    """Choose a query's labels, and name its classes where the query does not.

    Args:
        cache: The features.
        query: One of the cache's queries.
        split: Whose labels are learnt from.
        test_split: Whose labels are kept for the test; may be absent.
        fold: Which fold, for data sets that have several.
        seed: Of everything random.
        antonyms: Opposite prompts, the high end first; derived when left out.
        scale: Lowest and highest possible label; those of the training part when left out.
        device: Where to compute.
        folder: For the state of a fit; a new one among temporary files when left out.
        text: Loads the text tower; the cache's own backbone when left out.
        on_progress: Told (steps done, steps in all).

    Raises:
        LabelsError: The query has no such labels, or they are all equal.
    """
    train = _part(cache, query, split, fold)
    if len(train.rows) == 0:
        raise LabelsError(f"query {query!r}: no labels in the split {split!r}")
    words = derive_words(query, train.values)
    selection = select_labels(cache, split=split, fold=fold, queries=(query,))
    return FoldData(
        cache=cache,
        vectors=ImageVectors(cache),
        text=once(text or (lambda: load_text(cache, device))),
        task=selection.queries[0].task,
        query=query,
        fold=fold,
        seed=seed,
        train=train,
        val=_part(cache, query, "val", fold),
        test=_part(cache, query, test_split, fold),
        class_values=words.values,
        class_names=words.names,
        class_prompts=words.prompts,
        antonyms=antonyms or words.antonyms,
        scale=scale or (float(train.values.min()), float(train.values.max())),
        binned=words.binned,
        device=device,
        folder=folder or Path(mkdtemp(prefix="featcache-fit-")),
        on_progress=on_progress,
    )


def load_text(cache: Cache, device: str) -> SoftText:
    """Load the text tower of the backbone that made a cache."""
    from adapter.methods.text import SoftText
    from featcache.extraction.backbone import load_backbone_of

    return SoftText(load_backbone_of(cache.manifest, device=device))


def _part(cache: Cache, query: str, split: str | Sequence[str], fold: int | None) -> Part:
    """Return a query's labels of a split; empty where there are none."""
    try:
        chosen = select_labels(cache, split=split, fold=fold, queries=(query,)).queries
    except LabelsError:
        chosen = ()
    if not chosen:
        return Part(rows=np.empty(0, np.int64), values=np.empty(0))
    if len(chosen) > 1:
        tasks = ", ".join(found.task for found in chosen)
        raise LabelsError(f"query {query!r} belongs to several tasks: {tasks}")
    return Part(rows=chosen[0].rows, values=chosen[0].values)

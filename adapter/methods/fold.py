"""One query of a cache as a method is given it, outside of any recipe."""

from __future__ import annotations

from functools import cache as once
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import numpy as np

from adapter.data.distributions import distributions_of
from adapter.data.labels import select_labels
from adapter.data.selectors import choose_fold, choose_query, choose_splits
from adapter.errors import LabelsError
from adapter.methods.known import words_of
from adapter.methods.method import FoldData, ImageVectors, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.data.labels import LabelSelection, QueryLabels
    from adapter.methods.antonyms import Pair
    from adapter.methods.method import Array
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
        split: Splits to learn from.
        test_split: The split that is kept for the test; it may be absent.
        fold: Which fold, for data sets that have several.
        seed: Of everything random.
        antonyms: Opposite prompts, the high end first; derived when left out.
        scale: Lowest and highest possible label; when left out, what the data set declares
            (:mod:`adapter.methods.known`), else those of the training part.
        device: Where to compute.
        folder: For the state of a fit; a new one among temporary files when left out.
        text: Loads the text tower; the cache's own backbone when left out.
        on_progress: Told (steps done, steps in all).

    Raises:
        LabelsError: The query has no such labels, they are all equal, or outside of the scale.
    """
    query = choose_query([cache], query)
    split, fold = choose_splits([cache], split), choose_fold([cache], fold)
    labels = _only(select_labels(cache, split=split, fold=fold, queries=(query,)), query)
    train = part_of(cache, labels)
    words, declared = words_of(cache.dataset, query, train.values)
    if scale is not None:
        _require_inside(scale, train.values)
    return FoldData(
        cache=cache,
        vectors=ImageVectors(cache),
        text=once(text or (lambda: load_text(cache, device))),
        task=labels.task,
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
        scale=scale or declared or (float(train.values.min()), float(train.values.max())),
        binned=words.binned,
        device=device,
        folder=folder or Path(mkdtemp(prefix="featcache-fit-")),
        on_progress=on_progress,
    )


def load_text(cache: Cache, device: str, **changes: str | None) -> SoftText:
    """Load the text tower of the backbone that made a cache.

    Args:
        cache: The features.
        device: Where to run it.
        **changes: Where ``pretrained`` and ``model_config`` are now, if they have been moved.

    Raises:
        FingerprintMismatchError: What was loaded is not what made the cache.
    """
    from adapter.methods.text import SoftText
    from featcache.extraction.backbone import load_backbone_of

    return SoftText(load_backbone_of(cache.manifest, device=device, **changes))


def _part(cache: Cache, query: str, split: str | Sequence[str], fold: int | None) -> Part:
    """Return a query's labels of a split; empty where there are none."""
    try:
        chosen = select_labels(cache, split=split, fold=fold, queries=(query,))
    except LabelsError:
        return Part(rows=np.empty(0, np.int64), values=np.empty(0))
    return part_of(cache, _only(chosen, query))


def _only(chosen: LabelSelection, query: str) -> QueryLabels:
    """Return the labels of the one task that a query belongs to."""
    if len(chosen.queries) > 1:
        tasks = ", ".join(found.task for found in chosen.queries)
        raise LabelsError(f"query {query!r} belongs to several tasks: {tasks}")
    return chosen.queries[0]


def _require_inside(scale: tuple[float, float], values: Array) -> None:
    """Refuse a scale that does not hold its labels."""
    low, high = scale
    if low >= high or values.min() < low or values.max() > high:
        raise LabelsError(
            f"the scale {low:g} to {high:g} does not hold the training labels, which go from "
            f"{values.min():g} to {values.max():g}; give --scale LOW HIGH, or leave it out"
        )


def part_of(cache: Cache, labels: QueryLabels) -> Part:
    """Return the chosen labels of a query, with the rating distributions where there are some."""
    return Part(
        rows=labels.rows,
        values=labels.values,
        distributions=distributions_of(cache, labels.task, labels.query, labels.rows),
    )

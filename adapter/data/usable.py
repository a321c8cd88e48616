"""Labels that nothing can be learned, or measured, from, or that were seen before: what is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adapter.data.identity import cache_titles
from adapter.errors import ConfigError
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adapter.data.labels import FeatureCache, LabelSelection, QueryLabels

SHOWN = 5  # queries in a sentence


def equal_labels(caches: Sequence[FeatureCache], selections: Sequence[LabelSelection]) -> list[str]:
    """Say which queries have one value for all their training images: no order to learn."""
    notes = []
    for title, selection in zip(cache_titles(caches), selections, strict=True):
        equal = [q for q in selection.queries if len(q.values) and np.ptp(q.values) == 0]
        if equal:
            shown = "; ".join(f"{q.query!r}: {_equal(q)}" for q in equal[:SHOWN])
            more = f"; and {len(equal) - SHOWN} more" if len(equal) > SHOWN else ""
            notes.append(
                f"{title}: training labels are equal, so they have no order: {shown}{more}"
            )
    return notes


def _equal(labels: QueryLabels) -> str:
    count, value = len(labels.values), f"{labels.values[0]:g}"
    return f"all {count:,} are {value}" if count > 1 else f"the only one is {value}"


def undefined_validation(
    caches: Sequence[FeatureCache], selections: Sequence[LabelSelection], metric: str
) -> list[str]:
    """Check that the validation labels can tell which weights are best; say which cannot.

    Raises:
        ConfigError: The metric is undefined for every query, whatever is predicted.
    """
    queries = [q for selection in selections for q in selection.queries]
    undefined = [q for q in queries if not _defined(q, metric)]
    if not undefined:
        return []
    shown = "; ".join(
        f"{q.query!r}: {len(q.rows):,} image" + ("" if len(q.rows) == 1 else "s, equal labels")
        for q in undefined[:SHOWN]
    )
    where = ", ".join(cache_titles(caches))
    if len(undefined) == len(queries):
        raise ConfigError(
            f"{where}: {metric} is undefined on the validation labels ({shown}), so that no "
            "validation can tell which weights are best. Validate on more images "
            "(train.validation_split, train.hold_out), set train.select_by=mae, or "
            "train.validate_every=0"
        )
    note = (
        f"{where}: {metric} is undefined on the validation labels of "
        f"{quantity(len(undefined), 'query', 'queries')} of {len(queries)}, so these do not count "
        f"in the validation: {shown}"
    )
    return [note]


def seen_before(
    title: str, evaluated: NDArray[np.int64], trained: NDArray[np.int64], splits: Sequence[str]
) -> list[str]:
    """Say how many of the evaluated images were learned from.

    Args:
        title: The cache.
        evaluated: Rows of the images.
        trained: Rows of the training images.
        splits: Where these are from.
    """
    images = np.unique(evaluated)
    count = int(np.isin(images, trained).sum())
    if not count:
        return []
    note = (
        f"{title}: of {quantity(len(images), 'evaluated image')}, this run was trained on "
        f"{count:,} (split {', '.join(splits)})"
    )
    return [note]


def other_fold(fold: int | None, trained: int | None) -> list[str]:
    """Say that an evaluation is of another fold than the training."""
    if fold == trained:
        return []
    which = "without a fold" if trained is None else f"on fold {trained}"
    return [f"evaluated on fold {fold}; the run was trained {which}"]


def _defined(labels: QueryLabels, metric: str) -> bool:
    """Tell whether a metric has a value for these labels and some predictions."""
    if metric == "mae":
        return len(labels.rows) > 0
    return len(labels.rows) > 1 and bool(np.ptp(labels.values) > 0)

"""Which cache is which: never by the data set's name, which two caches may share.

A run numbers its caches in the order in which they were given. ``run.json`` says of each number
which cache it was (:func:`describe`), and a cache that is met again is found by that.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapter.data.labels import FeatureCache, LabelSelection


def cache_path(cache: FeatureCache) -> str:
    """Name a cache for messages: its path where it has one."""
    return str(getattr(cache, "path", cache.dataset))


def cache_titles(caches: Sequence[FeatureCache]) -> list[str]:
    """Name caches for tables: by their data set, and by their place where two share a name."""
    names = [str(getattr(cache, "name", None) or cache.dataset) for cache in caches]
    places = [cache_path(cache) for cache in caches]
    for shown in ([Path(place).name for place in places], places):
        titles = [
            f"{name} ({place})" if names.count(name) > 1 else name
            for name, place in zip(names, shown, strict=True)
        ]
        if len(set(titles)) == len(titles):
            return titles
    return [f"{title}, {number}" for number, title in enumerate(titles, start=1)]


def describe(cache: FeatureCache) -> dict[str, Any]:
    """Return what tells a cache from others, as JSON values.

    ``identity`` is the one that the cache was given when it was made (of format 1: what follows
    from its content), whatever its folder is called and wherever it lies. ``stand_in`` is there
    where the images are those of a drawn stand-in.
    """
    found = {
        "path": cache_path(cache),
        "dataset": cache.dataset,
        "identity": getattr(cache, "identity", None),
    }
    return {**found, "stand_in": True} if getattr(cache, "stand_in", False) else found


def same_cache(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Tell whether two descriptions are of one cache, wherever it lies now.

    Runs of before 2026-11-28 record no more than path and data set: then those decide.
    """
    if recorded.get("identity") is not None and found.get("identity") is not None:
        return bool(recorded["identity"] == found["identity"])
    return recorded["dataset"] == found["dataset"] and (
        Path(recorded["path"]).absolute() == Path(found["path"]).absolute()
    )


def position(recorded: Sequence[Mapping[str, Any]], cache: FeatureCache) -> int | None:
    """Return the number that a cache has in a run; None where the run never saw it."""
    found = describe(cache)
    same = [at for at, record in enumerate(recorded) if same_cache(record, found)]
    # Two copies of one cache may carry different labels: then the path decides.
    there = [at for at in same if recorded[at]["path"] == found["path"]]
    return next(iter(there or same), None)


def labels_digest(*selections: LabelSelection | None) -> str:
    """Digest of all labels that a run reads from a cache, whatever order their table has."""
    state = hashlib.sha256()
    for selection in selections:
        if selection is None:
            state.update(b"none")
            continue
        for labels in selection.queries:
            state.update(repr((labels.task, labels.query, len(labels.rows))).encode())
            for values in (labels.rows, labels.values, labels.containing):
                state.update(np.ascontiguousarray(values).tobytes())
        for task in sorted(selection.task_rows):
            state.update(repr((task, task in selection.states_zeros)).encode())
            state.update(np.sort(selection.task_rows[task]).tobytes())
    return state.hexdigest()[:32]

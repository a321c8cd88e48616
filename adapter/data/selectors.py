"""What was asked for by name, checked against the caches before anything is read from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from adapter.data.identity import cache_titles
from adapter.errors import LabelsError
from adapter.names import choose_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.data.labels import FeatureCache


def choose_splits(caches: Sequence[FeatureCache], asked: str | Sequence[str]) -> tuple[str, ...]:
    """Clean splits; each must be in the labels of some cache.

    Raises:
        LabelsError: One is in none, or there are no labels.
    """
    there = known(caches, "split")
    if not there:
        raise LabelsError(
            f"{', '.join(cache_titles(caches))}: no labels; add some: "
            "featcache labels CACHE --dataset table --root DIR --option table=FILE"
        )
    return _choose("split", asked, there, commas=True)


def choose_patterns(
    caches: Sequence[FeatureCache], column: str, asked: Sequence[str], more: Sequence[str] = ()
) -> tuple[str, ...]:
    """Clean names or shell patterns of ``query`` or ``task``; each must match in some cache.

    ``more`` are names beside those of the labels.

    Raises:
        LabelsError: One matches nothing.
    """
    there = sorted({*known(caches, column), *more})
    return _choose(column, asked, there, patterns=True)


def choose_query(caches: Sequence[FeatureCache], asked: str) -> str:
    """Clean a query that was asked for.

    Raises:
        LabelsError: No cache has labels of it.
    """
    (query,) = _choose("query", [asked], known(caches, "query")) or (asked,)
    return query


def choose_fold(caches: Sequence[FeatureCache], fold: int | None) -> int | None:
    """Check a fold that was asked for.

    Raises:
        LabelsError: No cache has labels of it.
    """
    there = known(caches, "fold")
    if fold is not None and str(fold) not in there:
        has = f"there are {', '.join(there)}" if there else "the labels have no folds"
        raise LabelsError(f"no fold {fold}; {has}")
    return fold


def known(caches: Sequence[FeatureCache], column: str) -> list[str]:
    """Return the different values of a column of the labels, of all caches, sorted."""
    found: set[Any] = set()
    for cache in caches:
        found |= set(pc.unique(cache.labels[column]).to_pylist())
    return [str(value) for value in sorted(found - {None})]


def _choose(
    what: str,
    asked: str | Sequence[str],
    there: Sequence[str],
    *,
    patterns: bool = False,
    commas: bool = False,
) -> tuple[str, ...]:
    try:
        return choose_names(what, asked, there, patterns=patterns, commas=commas)
    except ValueError as error:
        raise LabelsError(str(error)) from error

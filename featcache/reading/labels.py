"""Which labels count, for every choice of labels from a cache.

Labels of one fold are chosen at a time, a value is a number of a usable size, and an image has one
value for a query. Whoever chooses labels says in its own words what breaks a rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featcache.datasets.records import LARGEST_VALUE

if TYPE_CHECKING:
    from numpy.typing import NDArray


def numbered_folds(folds: NDArray[np.int64]) -> list[int]:
    """Return the numbers of the folds that labels have, sorted; -1 is no number (`in_fold`)."""
    return [int(fold) for fold in np.unique(folds) if fold >= 0]


def in_fold(folds: NDArray[np.int64], fold: int | None) -> NDArray[np.bool_]:
    """Mark the labels of a fold, [n]; one without a number (-1) belongs to each fold."""
    numberless: NDArray[np.bool_] = folds == -1
    return numberless if fold is None else numberless | (folds == fold)


def first_unusable(values: NDArray[np.float64]) -> int | None:
    """Return the place of the first value that is not a number, or is too large to be squared."""
    return _first(~(np.abs(values) <= LARGEST_VALUE))


def starts(codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the first of each run of equal codes, [n]: of sorted codes, each code once."""
    changed = np.ones(len(codes), bool)
    np.not_equal(codes[1:], codes[:-1], out=changed[1:])
    return changed


def first_contradiction(codes: NDArray[np.int64], values: NDArray[np.float64]) -> int | None:
    """Return the place of the first label whose next one has the same code, but another value.

    Args:
        codes: Of the image, or of image and query, of each label, sorted.
        values: Of each label.
    """
    return _first(~starts(codes)[1:] & (values[1:] != values[:-1]))


def _first(marks: NDArray[np.bool_]) -> int | None:
    found = np.flatnonzero(marks)
    return int(found[0]) if found.size else None

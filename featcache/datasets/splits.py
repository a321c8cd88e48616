"""Splits: seeded and stratified ones of our own, and those that a JSON file lists.

A seeded split orders the samples of each stratum by the SHA-256 of (seed, fold, sample id) and
cuts. It depends on nothing else: not on the order of the samples, on a library's generator or on
the machine, and adding an image moves no more than the borders of its own stratum.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from featcache.datasets.columns import (
    LABELS_SCHEMA,
    decode,
    distinct_labels,
    encode,
    folds_of,
    repeated,
)
from featcache.datasets.paths import composed
from featcache.datasets.records import SPLITS
from featcache.errors import DatasetError, DatasetNotFoundError
from featcache.wording import quantity

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Hashable, Mapping

# From sample id to "train", "val" or "test"; a sample that is not in it is not used.
Fold = dict[str, str]

_KEYS = {"train_id": "train", "val_id": "val", "test_id": "test"}


def stratified_split(
    strata: Mapping[str, Hashable],
    parts: Mapping[str, int | float],
    *,
    seed: int = 0,
    fold: int = 0,
) -> Fold:
    """Split samples at random, stratum by stratum.

    Args:
        strata: From sample id to its stratum.
        parts: From split to its size in each stratum, in the order of cutting: a count, or a
            share below 1, of which the stratum's cumulated sizes are rounded.
        seed: Of the whole series of splits.
        fold: Number of this split in the series.

    Returns:
        The split of each sample; samples beyond the parts' sizes are left out.

    Raises:
        DatasetError: A stratum is smaller than the counts ask for.
    """
    members: dict[Hashable, list[str]] = defaultdict(list)
    for sample, stratum in strata.items():
        members[stratum].append(sample)
    out: Fold = {}
    for stratum, samples in members.items():
        samples.sort(key=lambda sample: hashlib.sha256(f"{seed}/{fold}/{sample}".encode()).digest())
        start, cumulated = 0, 0.0
        for split, size in parts.items():
            cumulated += size if size >= 1 else size * len(samples)
            stop = int(cumulated + 0.5)
            if stop > len(samples):
                raise DatasetError(
                    f"{stratum} has {quantity(len(samples), 'image')}; the split needs "
                    f"{' + '.join(f'{n} {s}' for s, n in parts.items())}"
                )
            out.update(dict.fromkeys(samples[start:stop], split))
            start = stop
    return out


def repeated_split(
    group_of: Mapping[str, str], *, folds: int, seed: int = 0, test_share: float = 0.2
) -> list[Fold]:
    """Split samples at random into train and test, several times, groups as a whole.

    Args:
        group_of: From sample id to what must stay on one side (the sample itself if nothing).
        folds: Number of splits.
        seed: Of the series.
        test_share: Share of the groups that is for the test.

    Raises:
        DatasetError: ``folds`` is below 1.
    """
    if folds < 1:
        raise DatasetError(f"option folds: found {folds}, expected 1 or more")
    groups = dict.fromkeys(group_of.values(), "all groups")
    parts = {"test": test_share, "train": 1 - test_share}
    out = []
    for fold in range(folds):
        split_of = stratified_split(groups, parts, seed=seed, fold=fold)
        out.append({sample: split_of[group] for sample, group in group_of.items()})
    return out


def read_split_file(file: str | os.PathLike[str]) -> list[Fold]:
    """Read the ids of one or more splits from JSON.

    The form is that of the files which the paper's authors released (``examples/*-split.json``):
    ``{"train_id": [...], "test_id": [...]}``, ids as text. ``val_id`` may be there too, and a
    list of such objects gives several folds.

    Args:
        file: Path of the file.

    Returns:
        One dictionary per fold, from id to split. An id on two sides of one fold is an error:
        nothing could tell which is meant.

    Raises:
        DatasetNotFoundError: There is no such file.
        DatasetError: The file is not of this form.
    """
    path = Path(file)
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetNotFoundError(f"{path}: the split file cannot be read: {error}") from error
    except ValueError as error:
        raise DatasetError(f"{path}: not JSON: {error}") from error
    folds = content if isinstance(content, list) else [content]
    out: list[Fold] = []
    for number, item in enumerate(folds):
        where = f"{path}, fold {number}"
        if not isinstance(item, dict) or "train_id" not in item or "test_id" not in item:
            raise DatasetError(f"{where}: expected an object with train_id and test_id")
        if unknown := sorted(item.keys() - _KEYS.keys()):
            raise DatasetError(f"{where}: found {unknown[0]!r}, expected {', '.join(_KEYS)}")
        fold: Fold = {}
        for key, split in _KEYS.items():
            ids = item.get(key, [])
            if not isinstance(ids, list) or not all(isinstance(i, str | int) for i in ids):
                raise DatasetError(f"{where}, {key}: expected a list of ids")
            for sample in map(str, ids):
                if fold.setdefault(sample, split) != split:
                    raise DatasetError(f"{where}: {sample!r} is in {fold[sample]} and in {split}")
        out.append(fold)
    if not out:
        raise DatasetError(f"{path}: no split in it")
    return out


def resplit(labels: pa.Table, folds: list[Fold], key: Callable[[str], str], title: str) -> pa.Table:
    """Give labels the splits of a split file; ids that it does not name are left out.

    Ids are compared in Unicode's composed form, as systems differ in how they spell file names.

    Args:
        labels: With the data set's own splits, which are forgotten.
        folds: From ``read_split_file``; one fold holds for every fold (``fold`` null).
        key: Function from a sample id to the id that the file uses.
        title: Of the data set, for messages.

    Raises:
        DatasetError: Labels contradict each other.
    """
    count = labels.num_rows
    labels = labels.set_column(4, LABELS_SCHEMA.field("split"), repeated("all", count))
    labels = labels.set_column(5, LABELS_SCHEMA.field("fold"), pa.nulls(count, pa.int32()))
    labels = distinct_labels(labels, title)
    codes, ids = encode(labels["sample_id"])
    keys = [composed(key(str(sample))) for sample in ids]
    parts = []
    for number, fold in enumerate(folds):
        listed = {composed(sample): SPLITS.index(split) for sample, split in fold.items()}
        split_of = np.array([listed.get(sample, -1) for sample in keys], int)
        splits = split_of[codes]  # (n,)
        chosen = labels.filter(pa.array(splits >= 0))
        split = decode(splits[splits >= 0], pa.array(SPLITS))
        fold_of = pa.repeat(pa.scalar(number if len(folds) > 1 else None, pa.int32()), len(split))
        chosen = chosen.set_column(4, LABELS_SCHEMA.field("split"), split)
        parts.append(chosen.set_column(5, LABELS_SCHEMA.field("fold"), fold_of))
    return pa.concat_tables(parts)


def find_leaks(labels: pa.Table, group_of: Mapping[str, str] | None, what: str) -> list[str]:
    """Describe groups that lie on two sides of one split, one line per fold and pair of sides.

    Args:
        labels: Labels with splits and folds; a label without a fold counts in every fold.
        group_of: From sample id to its group; samples without a group are passed over. None: each
            sample is a group.
        what: What a group is, for the message.
    """
    group, names = encode(labels["sample_id"])  # (n,), names of the groups
    if group_of is not None:
        of = pa.array([group_of.get(str(sample), "") for sample in names], pa.string())
        codes, names = encode(of)
        group = codes[group]
    grouped = np.array([str(name) != "" for name in names], bool)[group]
    split_codes, splits = encode(labels["split"])
    split = np.array([SPLITS.index(str(name)) for name in splits], int)[split_codes]
    fold = folds_of(labels)
    out = []
    for number in np.unique(fold[fold >= 0]) if (fold >= 0).any() else [-1]:
        here = ((fold == number) | (fold == -1)) & grouped
        parts = [np.unique(group[here & (split == part)]) for part in range(3)]
        for left, right in ((0, 2), (0, 1), (1, 2)):
            if (both := np.intersect1d(parts[left], parts[right])).size:
                where = "" if number == -1 else f"fold {number}: "
                out.append(
                    f"{where}{both.size:,} times the same {what} in {SPLITS[left]} and "
                    f"{SPLITS[right]}, e.g. {min(str(names[int(code)]) for code in both)}"
                )
    return out

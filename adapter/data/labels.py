"""Choosing labels: from a cache's long table to one pair of arrays per query.

A label is chosen by task, query, split and fold. Labels of images without features (their
extraction failed) are counted and left out. Beside the chosen labels, a selection keeps what is
needed to know where a count of zero is *true*: which images were labeled within a task at all,
and which of them hold the category, in whatever split.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from adapter.errors import LabelsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from featcache.storage.fingerprint import Fingerprint


LARGEST = 1e30  # squares of larger values, and float32, overflow


class FeatureCache(Protocol):
    """What training and evaluation read from a cache; ``featcache.Cache`` is one."""

    @property
    def dataset(self) -> str:
        """Name of the data set."""

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the stored views."""

    @property
    def labels(self) -> pa.Table:
        """Labels in long form."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What determines the features."""

    def __len__(self) -> int:
        """Return the number of images with features."""

    def rows(self, sample_ids: Sequence[str]) -> NDArray[np.int64]:
        """Find images: [n], -1 where there is none."""

    def tokens(
        self, rows: NDArray[np.int64], view: Any = "original", out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Gather patch tokens: [n, P, C]."""

    def prompt(self, text: str) -> Any:
        """Read one prompt: ``tokens`` float32 [T, D] and ``pooled`` float32 [E]."""


@dataclass(frozen=True, kw_only=True)
class QueryLabels:
    """The chosen labels of one query.

    Attributes:
        task: The task that the query belongs to.
        query: The prompt.
        rows: int64 [n], the images, each once.
        values: float64 [n], their labels, in the data set's own unit.
        containing: int64, sorted: images with a value above zero in any split; a count of zero
            is never made up for them.
    """

    task: str
    query: str
    rows: NDArray[np.int64]
    values: NDArray[np.float64]
    containing: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LabelSelection:
    """What was chosen from one cache.

    Attributes:
        queries: One entry per (task, query), sorted by both.
        task_rows: Per task, the label rows' images within the chosen splits and fold, over all
            queries of the task, chosen or not, with repetition.
        states_zeros: Tasks whose tables hold zeros. There an absent label means "unknown", so
            no zero is inferred; elsewhere an absent count is a zero.
        left_out: How many chosen labels belong to images without features.
    """

    queries: tuple[QueryLabels, ...]
    task_rows: Mapping[str, NDArray[np.int64]]
    states_zeros: frozenset[str]
    left_out: int

    @cached_property
    def task_images(self) -> dict[str, NDArray[np.int64]]:
        """Per task, the images that are labeled within it, sorted, once."""
        return {task: np.unique(rows) for task, rows in self.task_rows.items()}

    @cached_property
    def image_rows(self) -> NDArray[np.int64]:
        """Every image that is labeled within a chosen task, sorted, once."""
        return np.unique(np.concatenate(list(self.task_images.values())))


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a name equals, or matches as a shell pattern, one of the patterns."""
    return not patterns or any(name == p or fnmatchcase(name, p) for p in patterns)


def select_labels(
    cache: FeatureCache,
    *,
    split: str | Sequence[str],
    fold: int | None = None,
    queries: Sequence[str] = (),
    tasks: Sequence[str] = (),
) -> LabelSelection:
    """Choose labels of a cache.

    Args:
        cache: Where the labels are.
        split: One or several of ``train``, ``val``, ``test``, ``all``; matched exactly.
        fold: Which of the data set's splits; labels without a fold belong to each. May be left
            out where there is at most one.
        queries: Names or shell patterns; none means every query.
        tasks: Names or shell patterns; none means every task.

    Returns:
        The selection, its queries sorted by task and prompt.

    Raises:
        LabelsError: Nothing matches (the message lists what there is), a fold must be named, a
            value is not finite, or one image has two different values for one query.
    """
    splits = (split,) if isinstance(split, str) else tuple(split)
    table = cache.labels
    task_of, task_names = _encode(table, "task")
    query_of, query_names = _encode(table, "query")
    split_of, split_names = _encode(table, "split")
    sample_of, sample_ids = _encode(table, "sample_id")
    folds = np.nan_to_num(table["fold"].to_numpy().astype(np.float64), nan=-1).astype(np.int64)
    values = table["value"].to_numpy().astype(np.float64)
    found = cache.rows(sample_ids) if sample_ids else np.empty(0, np.int64)
    rows = found[sample_of]

    in_task = np.array([matches(name, tasks) for name in task_names], bool)[task_of]
    in_query = np.array([matches(name, queries) for name in query_names], bool)[query_of]
    in_split = np.array([name in splits for name in split_names], bool)[split_of]
    in_part = in_task & in_split
    fold = _only_fold(np.unique(folds[in_part & in_query]), fold, cache.dataset)
    in_part &= (folds == -1) | (folds == fold)
    if not np.any(in_part & in_query):
        raise LabelsError(_nothing_matches(cache, splits, fold, queries, tasks))

    # One sort groups the table by (task, query), without a pass over it per query.
    key = task_of * len(query_names) + query_of
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    chosen: list[QueryLabels] = []
    left_out = 0
    for group in np.split(order, starts[1:]):
        task, query = task_names[task_of[group[0]]], query_names[query_of[group[0]]]
        picked = group[in_part[group] & in_query[group]]
        left_out += int(np.count_nonzero(rows[picked] < 0))
        picked = picked[rows[picked] >= 0]
        if len(picked) == 0:
            continue
        image_rows, image_values = _once_per_image(rows[picked], values[picked], task, query)
        positive = group[(values[group] > 0) & (rows[group] >= 0)]
        chosen.append(
            QueryLabels(
                task=task,
                query=query,
                rows=image_rows,
                values=image_values,
                containing=np.unique(rows[positive]),
            )
        )
    if not chosen:
        raise LabelsError(
            f"{cache.dataset}: none of the {left_out} chosen labels belongs to an image with "
            "features; `featcache info` shows what failed"
        )
    chosen.sort(key=lambda q: (q.task, q.query))
    kept = in_part & (rows >= 0)
    named = {q.task for q in chosen}
    return LabelSelection(
        queries=tuple(chosen),
        task_rows={
            name: rows[kept & (task_of == i)] for i, name in enumerate(task_names) if name in named
        },
        states_zeros=frozenset(
            name
            for i, name in enumerate(task_names)
            if name in named and np.any((task_of == i) & (values == 0))
        ),
        left_out=left_out,
    )


def hold_out(
    selection: LabelSelection, fraction: float, seed: int
) -> tuple[LabelSelection, LabelSelection]:
    """Split a selection by image into (kept, held out), for a data set without ``val``.

    Whole images move, so no image is on both sides, whatever the query.
    """
    images = selection.image_rows
    generator = np.random.Generator(np.random.Philox(key=seed))
    shuffled = generator.permutation(images)
    count = min(max(round(fraction * len(images)), 1), len(images) - 1)
    held = np.sort(shuffled[:count])
    return _restrict(selection, held, inside=False), _restrict(selection, held, inside=True)


def _restrict(
    selection: LabelSelection, images: NDArray[np.int64], *, inside: bool
) -> LabelSelection:
    """Keep the labels whose image lies inside, or outside, a set of images."""
    queries = []
    for q in selection.queries:
        keep = np.isin(q.rows, images) == inside
        if keep.any():
            queries.append(replace(q, rows=q.rows[keep], values=q.values[keep]))
    if not queries:
        raise LabelsError("holding out images for validation leaves no labels on one side")
    return replace(
        selection,
        queries=tuple(queries),
        task_rows={
            task: rows[np.isin(rows, images) == inside]
            for task, rows in selection.task_rows.items()
        },
    )


def _encode(table: pa.Table, column: str) -> tuple[NDArray[np.int64], list[str]]:
    """Return a string column as codes and the names they stand for."""
    encoded = table[column].combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), [str(v) for v in encoded.dictionary]


def _only_fold(present: NDArray[np.int64], fold: int | None, dataset: str) -> int | None:
    """Choose the fold where it need not be said; -1 stands for labels of every fold."""
    numbered = [int(f) for f in present if f >= 0]
    if fold is None and len(numbered) > 1:
        raise LabelsError(
            f"{dataset}: the labels have folds {', '.join(map(str, numbered))}; choose one of "
            "them with --fold (training on several at once would mix training and test images)"
        )
    return numbered[0] if fold is None and numbered else fold


def _once_per_image(
    rows: NDArray[np.int64], values: NDArray[np.float64], task: str, query: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Drop repeated labels, refuse contradicting ones; rows come out sorted."""
    unusable = ~(np.abs(values) <= LARGEST)
    if unusable.any():
        at = int(np.flatnonzero(unusable)[0])
        raise LabelsError(
            f"task {task!r}, query {query!r}, row {int(rows[at])}: the value {values[at]:g} is not "
            f"a number up to {LARGEST:g}; leave it out, or give the labels in another unit"
        )
    order = np.argsort(rows, kind="stable")
    rows, values = rows[order], values[order]
    same = rows[1:] == rows[:-1]
    if np.any(same & (values[1:] != values[:-1])):
        at = int(np.flatnonzero(same & (values[1:] != values[:-1]))[0])
        raise LabelsError(
            f"task {task!r}, query {query!r}: the image in row {rows[at]} has two values, "
            f"{values[at]:g} and {values[at + 1]:g}; one label per image and query is expected"
        )
    keep = np.r_[True, ~same]
    return rows[keep], values[keep]


def _nothing_matches(
    cache: FeatureCache,
    splits: Sequence[str],
    fold: int | None,
    queries: Sequence[str],
    tasks: Sequence[str],
) -> str:
    """Say what was asked for, and what there is."""
    asked = [f"split {' or '.join(splits)}"]
    asked += [f"fold {fold}"] if fold is not None else []
    asked += [f"queries {', '.join(queries)}"] if queries else []
    asked += [f"tasks {', '.join(tasks)}"] if tasks else []
    table = cache.labels
    counts: dict[tuple[str, str, int | None], int] = {}
    columns = [table[name].to_pylist() for name in ("task", "split", "fold")]
    for key in zip(*columns, strict=True):
        counts[key] = counts.get(key, 0) + 1
    lines = [
        f"  task {task}, split {split}, {'every fold' if f is None else f'fold {f}'}: {n} labels"
        for (task, split, f), n in sorted(counts.items(), key=lambda item: str(item[0]))
    ]
    names = sorted(_encode(table, "query")[1])
    shown = [f"  query {name!r}" for name in names[:20]]
    more = [f"  … and {len(names) - 20} more queries"] if len(names) > 20 else []
    there = "\n".join([*lines, *shown, *more]) or "  no labels at all; `featcache labels` adds some"
    return f"{cache.dataset}: no label matches {', '.join(asked)}. The cache has:\n{there}"

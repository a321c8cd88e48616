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
from featcache.datasets.columns import encode, folds_of
from featcache.datasets.records import LARGEST_VALUE
from featcache.reading.labels import (
    first_contradiction,
    first_unusable,
    in_fold,
    numbered_folds,
    starts,
)
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from featcache.storage.fingerprint import Fingerprint


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
    def coded_labels(self) -> pa.Table:
        """The same with texts as codes of a dictionary, as they lie in the file."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What determines the features."""

    def __len__(self) -> int:
        """Return the number of images with features."""

    def rows(
        self, sample_ids: Sequence[str] | pa.Array[Any] | pa.ChunkedArray[Any]
    ) -> NDArray[np.int64]:
        """Find images: [n], -1 where there is none."""

    def tokens(
        self, rows: NDArray[np.int64], view: Any = "original", out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Gather patch tokens: [n, P, C]."""

    def pooled(self, rows: NDArray[np.int64], view: Any = "original") -> NDArray[np.float32]:
        """Gather embeddings: [n, E]."""

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
        return np.unique(np.concatenate([np.empty(0, np.int64), *self.task_images.values()]))


NO_LABELS = LabelSelection(queries=(), task_rows={}, states_zeros=frozenset(), left_out=0)


def has_labels(
    cache: FeatureCache, split: Sequence[str], queries: Sequence[str], tasks: Sequence[str]
) -> bool:
    """Tell whether any label matches; arguments as for :func:`select_labels`."""
    kinds = cache.labels.group_by(["task", "query", "split"]).aggregate([])
    return any(
        kind["split"] in split and matches(kind["query"], queries) and matches(kind["task"], tasks)
        for kind in kinds.to_pylist()
    )


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
    table = cache.coded_labels
    task_of, task_names = _encode(table, "task")  # (n,)
    query_of, query_names = _encode(table, "query")
    split_of, split_names = _encode(table, "split")
    values: NDArray[np.float64] = table["value"].to_numpy()
    rows = cache.rows(table["sample_id"]) if len(table) else np.empty(0, np.int64)

    in_part = np.array([name in splits for name in split_names], bool)[split_of]
    if tasks:
        in_part &= np.array([matches(name, tasks) for name in task_names], bool)[task_of]
    wanted = in_part
    if queries:
        wanted = in_part & np.array([matches(name, queries) for name in query_names])[query_of]
    if table["fold"].null_count < len(table):
        folds = folds_of(table)
        fold = _only_fold(numbered_folds(folds[wanted]), fold, cache.dataset)
        in_part, wanted = in_part & in_fold(folds, fold), wanted & in_fold(folds, fold)
    if not wanted.any():
        raise LabelsError(_nothing_matches(cache, splits, fold, queries, tasks))

    # One sort puts the labels of a query together, and in it those of an image; all else is then
    # differences between neighbors, without a pass over the table per query.
    query = task_of * len(query_names)
    query += query_of
    place = query * (len(cache) + 1)
    place += rows
    there = rows >= 0  # not so of images without features
    marks = (there & wanted).view(np.uint8) | (there & (values > 0)).view(np.uint8) << 1
    order = np.argsort(place, kind="stable")
    ordered = marks[order]
    picked = order[(ordered & 1).astype(bool)]
    left_out = int(np.count_nonzero(wanted)) - len(picked)
    if not picked.size:
        raise LabelsError(
            f"{cache.dataset}: none of the {left_out} chosen labels belongs to an image with "
            "features; `featcache info` shows what failed"
        )

    def names(label: int) -> str:
        task, prompt = task_names[task_of[label]], query_names[query_of[label]]
        return f"task {task!r}, query {prompt!r}"

    picked = _once_per_image(picked, place, rows, values, names)
    positive = order[(ordered & 2).astype(bool)]
    positive = positive[starts(place[positive])]
    groups = np.flatnonzero(starts(query[picked]))
    firsts = query[picked[groups]]
    holds = np.searchsorted(query[positive], [firsts, firsts + 1])  # (2, queries)
    chosen = [
        QueryLabels(
            task=task_names[task_of[group[0]]],
            query=query_names[query_of[group[0]]],
            rows=rows[group],
            values=values[group],
            containing=rows[positive[start:stop]],
        )
        for group, start, stop in zip(np.split(picked, groups[1:]), *holds, strict=True)
    ]
    chosen.sort(key=lambda q: (q.task, q.query))
    in_part &= there
    named = {q.task for q in chosen}
    zeros = np.bincount(task_of[values == 0], minlength=len(task_names)) > 0
    return LabelSelection(
        queries=tuple(chosen),
        task_rows={
            name: rows[in_part & (task_of == i)]
            for i, name in enumerate(task_names)
            if name in named
        },
        states_zeros=frozenset(t for t, has in zip(task_names, zeros, strict=True) if has) & named,
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
    return restrict(selection, held, inside=False), restrict(selection, held, inside=True)


def restrict(
    selection: LabelSelection, images: NDArray[np.int64], *, inside: bool
) -> LabelSelection:
    """Keep the labels whose image lies inside, or outside, a set of images.

    Raises:
        LabelsError: None is left.
    """
    queries = []
    for q in selection.queries:
        keep = np.isin(q.rows, images) == inside
        if keep.any():
            queries.append(replace(q, rows=q.rows[keep], values=q.values[keep]))
    if not queries:
        raise LabelsError("holding out images leaves no labels on one side; there are too few")
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
    codes, names = encode(table[column])
    return codes, [str(name) for name in names]


def _only_fold(numbered: list[int], fold: int | None, dataset: str) -> int | None:
    """Choose the fold where it need not be said."""
    if fold is None and len(numbered) > 1:
        raise LabelsError(
            f"{dataset}: the labels have folds {', '.join(map(str, numbered))}; choose one of "
            "them with --fold (training on several at once would mix training and test images)"
        )
    return numbered[0] if fold is None and numbered else fold


def _once_per_image(
    picked: NDArray[np.int64],
    place: NDArray[np.int64],
    rows: NDArray[np.int64],
    values: NDArray[np.float64],
    names: Callable[[int], str],
) -> NDArray[np.int64]:
    """Drop repeated labels, refuse contradicting and unusable ones.

    Args:
        picked: Labels, sorted by place.
        place: Number of the query and image of each label.
        rows: Image of each label.
        values: Value of each label.
        names: Names the query of a label.
    """
    value = values[picked]
    if (bad := first_unusable(value)) is not None:
        label = picked[bad]
        raise LabelsError(
            f"{names(label)}, row {rows[label]}: the value {values[label]:g} is not a number up to "
            f"{LARGEST_VALUE:g}; leave it out, or give the labels in another unit"
        )
    if (bad := first_contradiction(place[picked], value)) is not None:
        label = picked[bad]
        raise LabelsError(
            f"{names(label)}: the image in row {rows[label]} has two values, {value[bad]:g} and "
            f"{value[bad + 1]:g}; one label per image and query is expected"
        )
    return picked[starts(place[picked])]


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
    counts = table.group_by(["task", "split", "fold"]).aggregate([([], "count_all")])
    lines = [
        f"  task {row['task']}, split {row['split']}, "
        + ("every fold" if row["fold"] is None else f"fold {row['fold']}")
        + f": {quantity(row['count_all'], 'label')}"
        for row in counts.to_pylist()
    ]
    names = sorted(_encode(table, "query")[1])
    shown = [f"  query {name!r}" for name in names[:20]]
    more = (
        [f"  … and {quantity(len(names) - 20, 'more query', 'more queries')}"]
        if len(names) > 20
        else []
    )
    there = (
        "\n".join([*sorted(lines), *shown, *more])
        or "  no labels at all; `featcache labels` adds some"
    )
    return f"{cache.dataset}: no label matches {', '.join(asked)}. The cache has:\n{there}"

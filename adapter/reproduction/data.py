"""From a source to the folds of a task: labels chosen, zeros of counts filled in, classes named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pyarrow.compute

from adapter.data.distributions import distributions_of
from adapter.data.labels import select_labels
from adapter.errors import LabelsError
from adapter.methods.method import FoldData, Part
from adapter.methods.words import Words, antonyms_of, derive_words
from adapter.reproduction.resplit import resplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from adapter.data.labels import LabelSelection, QueryLabels
    from adapter.reproduction.recipe import Task
    from adapter.reproduction.sources import Source
    from featcache.reading.cache import Cache

pc: Any = pyarrow.compute

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
EMPTY = Part(rows=np.empty(0, np.int64), values=np.empty(0))


@dataclass(frozen=True, kw_only=True)
class QueryParts:
    """The labels of one query in one fold."""

    query: str
    train: Part
    val: Part
    test: Part


class TaskData:
    """A task over the source that has its features."""

    def __init__(self, task: Task, source: Source) -> None:
        self.task, self.source = task, source
        self._parts: dict[int | None, list[QueryParts]] = {}
        self._caches: dict[int | None, Cache] = {}

    def cache(self, fold: int | None) -> Cache:
        """Return the source's cache, with the labels of a fold where those are drawn anew."""
        task = self.task
        if task.resplit is None or fold is None:
            return self.source.cache
        if fold not in self._caches:
            drawn = resplit(self.source.cache, task.task, task.query, task.resplit, fold)
            self._caches[fold] = cast("Cache", drawn)
        return self._caches[fold]

    def parts(self, fold: int | None) -> list[QueryParts]:
        """Choose the labels of one fold, by query: training, validation (perhaps empty), test.

        Of several queries, those without labels in the test part are left out.

        Raises:
            LabelsError: The task's query is not among the labels, or nothing is left.
        """
        if fold not in self._parts:
            self._parts[fold] = self._choose(fold)
        return self._parts[fold]

    def _choose(self, fold: int | None) -> list[QueryParts]:
        task = self.task
        chosen = {split: self._split(split, fold) for split in SPLITS}
        queries = sorted({query for parts in chosen.values() for query in parts})
        found = [
            QueryParts(query=q, **{split: chosen[split].get(q, EMPTY) for split in SPLITS})
            for q in queries
        ]
        if not task.queries and len(found) != 1:
            raise LabelsError(
                f"{task.key}: found {len(found)} queries for {task.query!r}, expected one"
            )
        if task.queries:
            found = [q for q in found if len(q.test.rows)]
        return found

    def _split(self, split: Split, fold: int | None) -> dict[str, Part]:
        """Choose the labels of one split by query."""
        task, cache = self.task, self.cache(fold)
        everything = task.tested == "all"
        if everything and split != "test":
            return {}
        if split != "test" and split not in set(map(str, pc.unique(cache.labels["split"]))):
            return {}
        try:
            selection = select_labels(
                cache,
                split=("train", "val", "test", "all") if everything else split,
                fold=fold,
                queries=task.names,
                tasks=(task.task,),
            )
        except LabelsError:
            if split == "test":
                raise
            return {}  # what is only tested has nothing to learn from
        return {q.query: self._part(split, q, selection) for q in selection.queries}

    def _part(self, split: Split, labels: QueryLabels, selection: LabelSelection) -> Part:
        rows, values = labels.rows, labels.values
        stated = labels.task in selection.states_zeros
        if self.task.counts and self.task.zeros == "inferred" and not stated:
            images = selection.task_images[labels.task]
            zeros = images[~np.isin(images, labels.containing)]
            limit = self.task.test_zeros
            if split == "train":
                limit = round(self.task.training_zeros * len(rows))
            if limit is not None and limit < len(zeros):
                drawn = np.random.default_rng([len(rows), len(zeros)]).permutation(len(zeros))
                zeros = np.sort(zeros[drawn[:limit]])
            rows = np.concatenate([rows, zeros])
            values = np.concatenate([values, np.zeros(len(zeros))])
        return Part(
            rows=rows,
            values=values,
            distributions=distributions_of(self.source.cache, labels.task, labels.query, rows),
        )

    def folds(
        self,
        fold: int | None,
        seed: int,
        folder: Path,
        device: str,
        *,
        learn: bool = True,
        on_progress: Callable[[int, int], None] = lambda done, steps: None,
    ) -> list[FoldData]:
        """Return what a method is given, one entry per query.

        Args:
            fold: Which fold.
            seed: Of everything random.
            folder: Where a method may keep its state.
            device: Where to compute.
            learn: Leave out queries whose training labels are all equal; else all are tested.
            on_progress: Told of a method's steps.

        Raises:
            LabelsError: No query is left.
        """
        task, source = self.task, self.source
        found = []
        for parts in self.parts(fold):
            if learn and task.queries and len(np.unique(parts.train.values)) < 2:
                continue
            words = self._words(parts)
            found.append(
                FoldData(
                    cache=self.cache(fold),
                    vectors=source.vectors,
                    text=lambda: source.text,
                    task=task.task,
                    query=parts.query,
                    fold=fold,
                    seed=seed,
                    train=parts.train,
                    val=parts.val,
                    test=parts.test,
                    class_values=words.values,
                    class_names=words.names,
                    class_prompts=words.prompts,
                    antonyms=words.antonyms,
                    scale=task.scale,
                    binned=words.binned,
                    device=device,
                    folder=folder,
                    on_progress=on_progress,
                )
            )
        if not found:
            raise LabelsError(f"{task.key}: no query has different training labels")
        return found

    def _words(self, parts: QueryParts) -> Words:
        """Take the task's classes and prompts, or derive what it leaves out."""
        task = self.task
        pair = (task.antonyms[0], task.antonyms[1]) if task.antonyms else antonyms_of(parts.query)
        if task.class_values:
            return Words(
                values=np.array(task.class_values, np.float64),
                names=task.class_names,
                prompts=task.class_prompts,
                antonyms=pair,
                binned=False,
            )
        learned = len(np.unique(parts.train.values)) > 1
        values = parts.train.values if learned else np.append(parts.test.values, (0.0, 1.0))
        words = derive_words(parts.query, values)
        return Words(
            values=words.values,
            names=words.names,
            prompts=words.prompts,
            antonyms=pair,
            binned=words.binned,
        )

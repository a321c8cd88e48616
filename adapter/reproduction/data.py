"""From a folder of data to the folds of a task: find, check, extract once, choose labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from adapter.data.labels import select_labels
from adapter.errors import LabelsError
from adapter.methods.method import FoldData, ImageVectors, Part
from featcache.datasets import info, open_dataset
from featcache.datasets.columns import belonging
from featcache.errors import CacheNotFoundError
from featcache.reading.cache import Cache
from featcache.storage.layout import HISTORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pyarrow as pa

    from adapter.methods.text import SoftText
    from adapter.reproduction.recipe import Recipe, Task
    from featcache.backbone import Backbone, BackboneSpec
    from featcache.datasets.base import Dataset
    from featcache.datasets.records import CheckReport
    from featcache.storage.manifest import Manifest


def find_data(data: Path, task: Task) -> tuple[Dataset, CheckReport]:
    """Look for a task's data set below a folder.

    Returns:
        Its reader and its check: of the first place where all is there, else of the first place
        that exists, else of the place where it should be.
    """
    places = [data / folder for folder in task.folders]
    tried = []
    for place in places:
        if place.is_dir():
            reader = open_dataset(task.dataset, place, **task.options)
            report = reader.check()
            if report.ok:
                return reader, report
            if place.resolve() != data.resolve():  # the whole folder is no place of its own
                tried.append((reader, report))
    if tried:
        return tried[0]
    reader = open_dataset(task.dataset, places[0], **task.options)
    return reader, reader.check()


def missing_lines(task: Task, report: CheckReport) -> list[str]:
    """Say what to download and where to put it."""
    about = info(task.dataset)
    return [
        f"{about.title} is not complete in {report.root}",
        *(f"  missing: {what}" for what in report.missing),
        *(f"  problem: {what}" for what in report.problems),
        f"  ask for the data: {about.source} (terms: {about.license})",
        f"  put it into {report.root} so that it looks like this:",
        *(f"    {line}" for line in about.layout.splitlines()),
    ]


@dataclass(frozen=True, kw_only=True)
class BackboneChoice:
    """How features are made where there is no cache yet.

    Attributes:
        spec: The backbone.
        device: Where to run it.
        precision: As ``featcache.backbone.load_backbone``.
        max_failures: Share of a data set's images that may fail.
    """

    spec: BackboneSpec
    device: str = "cpu"
    precision: Any = "auto"
    max_failures: float = 0.25


class TaskData:
    """A task whose data are there: its cache, and what methods share.

    Args:
        task: The task.
        reader: Its data set.
        folder: Of the cache.
        choice: Makes the features where they are missing.
    """

    def __init__(self, task: Task, reader: Dataset, folder: Path, choice: BackboneChoice) -> None:
        self.task, self.reader, self.folder, self.choice = task, reader, folder, choice
        self._backbone: Backbone | None = None
        self._parts: dict[int | None, dict[str, Part]] = {}

    def prepare(self, recipe: Recipe, on_progress: Callable[[int, int], None]) -> None:
        """Extract what is missing, and bring the labels of an older cache up to date.

        Raises:
            FingerprintMismatchError: The cache holds features of another backbone.
        """
        from featcache.backbone import load_backbone
        from featcache.extraction.backbone import load_backbone_of
        from featcache.extraction.extract import extract
        from featcache.extraction.plan import ExtractConfig
        from featcache.storage.durable import require_writable
        from featcache.storage.manifest import Manifest

        choice = self.choice
        try:
            Cache.open(self.folder)
        except CacheNotFoundError:
            require_writable(self.folder)  # before a backbone is loaded
            self._backbone = load_backbone(
                choice.spec, device=choice.device, precision=choice.precision
            )
            extract(
                self.reader,
                self.folder,
                self._backbone,
                ExtractConfig.build(views=recipe.views, max_failures=choice.max_failures),
                on_event=lambda event: on_progress(event.done, event.total),
            )
            return
        there = Manifest.read(self.folder)
        asked = choice.spec.to_dict()
        changes = {k: v for k, v in asked.items() if there.backbone.get(k) != v}
        if changes:  # perhaps the same weights under another path; loading tells
            self._backbone = load_backbone_of(
                there, device=choice.device, precision=choice.precision, **changes
            )
        self._refresh_labels()

    def _refresh_labels(self) -> None:
        """Write the reader's labels where the cache has others: labels are cheap."""
        from featcache.maintenance.relabel import relabel

        cache = Cache.open(self.folder)
        labels = self.reader.labels_table()
        wanted = belonging(labels, cache.read_samples("sample_id"))
        there = cache.labels.filter(
            pc.is_in(cache.labels["query"], value_set=labels["query"].unique())
        )
        if not _sorted_rows(there).equals(_sorted_rows(wanted)):
            relabel(self.folder, self.reader, self._load)

    def _load(self, manifest: Manifest) -> Backbone:
        """Load the cache's backbone, once."""
        from featcache.extraction.backbone import load_backbone_of

        if self._backbone is None:
            spec = self.choice.spec
            self._backbone = load_backbone_of(
                manifest,
                device=self.choice.device,
                precision=self.choice.precision,
                pretrained=spec.pretrained or None,
                model_config=spec.model_config,
            )
        return self._backbone

    @cached_property
    def cache(self) -> Cache:
        """The finished cache."""
        return Cache.open(self.folder)

    @cached_property
    def vectors(self) -> ImageVectors:
        """Its vectors per image."""
        return ImageVectors(self.cache)

    @cached_property
    def text(self) -> SoftText:
        """The text tower; the backbone is loaded when a method asks for it."""
        from adapter.methods.text import SoftText

        return SoftText(self._load(self.cache.manifest))

    @property
    def extraction_seconds(self) -> float:
        """Wall time of all extractions into this cache that came to their end."""
        lines = (self.folder / HISTORY).read_text("utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        return sum(float(r["seconds"]) for r in records if r["command"] == "extract")

    def parts(self, fold: int | None) -> dict[str, Part]:
        """Choose the labels of one fold: ``train``, ``val`` (perhaps empty) and ``test``."""
        if fold not in self._parts:
            self._parts[fold] = {s: self._part(s, fold) for s in ("train", "val", "test")}
        return self._parts[fold]

    def _part(self, split: str, fold: int | None) -> Part:
        task = self.task
        if split == "val" and "val" not in self.cache.labels["split"].unique().to_pylist():
            return Part(rows=np.empty(0, np.int64), values=np.empty(0))
        chosen = select_labels(
            self.cache, split=split, fold=fold, queries=(task.query,), tasks=(task.task,)
        )
        if len(chosen.queries) != 1:
            raise LabelsError(
                f"{task.key}: found {len(chosen.queries)} queries for {task.query!r}, expected one"
            )
        return Part(rows=chosen.queries[0].rows, values=chosen.queries[0].values)

    def fold_data(
        self,
        fold: int | None,
        seed: int,
        folder: Path,
        device: str,
        on_progress: Callable[[int, int], None],
    ) -> FoldData:
        """Return what a method is given."""
        task, parts = self.task, self.parts(fold)
        return FoldData(
            cache=self.cache,
            vectors=self.vectors,
            text=lambda: self.text,
            task=task.task,
            query=task.query,
            fold=fold,
            seed=seed,
            train=parts["train"],
            val=parts["val"],
            test=parts["test"],
            class_values=np.array(task.class_values, np.float64),
            class_names=task.class_names,
            class_prompts=task.class_prompts,
            antonyms=task.antonyms,
            device=device,
            folder=folder,
            on_progress=on_progress,
        )


def _sorted_rows(labels: pa.Table) -> pa.Table:
    """Return what labels say, each once and in one order, so that two tables can be compared."""
    names = ["sample_id", "query", "value", "split", "fold"]
    rows = labels.group_by(names).aggregate([]).select(names)
    return rows.sort_by([(name, "ascending") for name in names]).combine_chunks()

"""One cache per data set and backbone: found or extracted once, and shared by all tables.

cache/adience-convnext_large_d_320-laion2b_s29b_b131k_ft_soup/
cache/koniq10k-RN50-quickgelu-openai-native-none-pooled/

Labels are cheap, features are not. So a source reads the labels of its data set anew, and lays
them over the cache in memory; the cache on the disk changes only where it lacks a prompt.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute

from adapter.methods.method import ImageVectors
from featcache.datasets import open_dataset
from featcache.datasets.columns import distinct_labels
from featcache.errors import CacheNotFoundError, PromptNotFoundError
from featcache.reading.cache import Cache
from featcache.storage.layout import HISTORY, bytes_per_image, folder_exists
from featcache.storage.tables import queries_of, with_measured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from adapter.methods.text import SoftText
    from adapter.reproduction.recipe import Task
    from featcache.backbone import Backbone, BackboneSpec
    from featcache.datasets.base import Dataset
    from featcache.datasets.records import CheckReport
    from featcache.storage.manifest import Manifest

pc: Any = pyarrow.compute

OWN_WEIGHTS = ("name", "pretrained", "model_config", "text_weights")  # what a model is


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

    def changed(self, fields: Mapping[str, Any], *, same_model: bool) -> BackboneChoice:
        """Return the choice with other fields of the backbone.

        Args:
            fields: What a recipe or a row asks for.
            same_model: Keep name and weights, as where the user chose them.
        """
        kept = {k: v for k, v in fields.items() if not (same_model and k in OWN_WEIGHTS)}
        if not kept:
            return self
        values = self.spec.to_dict()
        if "name" in kept:  # another model brings its own weights
            values |= dict.fromkeys(OWN_WEIGHTS[2:]) | {"pretrained": ""}
        if kept.get("tokens") == "none":
            values |= {"projection": "clip", "token_pool": 1}
        return replace(self, spec=type(self.spec).from_dict({**values, **kept}))


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
    from featcache.datasets import info

    about = info(task.dataset)
    return [
        f"{about.title} is not complete in {report.root}",
        *(f"  missing: {what}" for what in report.missing),
        *(f"  problem: {what}" for what in report.problems),
        f"  ask for the data: {about.source} (terms: {about.license})",
        f"  put it into {report.root} so that it looks like this:",
        *(f"    {line}" for line in about.layout.splitlines()),
    ]


def cache_name(dataset: str, spec: BackboneSpec) -> str:
    """Name a cache so that a person sees the data set and the backbone."""
    weights = Path(spec.pretrained).stem if "/" in spec.pretrained else spec.pretrained
    parts = [dataset, spec.name, "" if weights == spec.name else weights]
    parts += [spec.projection] if spec.projection != "clip" else []
    parts += [f"pool{spec.token_pool}"] if spec.token_pool > 1 else []
    parts += [spec.resize] if spec.resize != "squash" else []
    parts += [f"positions-{spec.positions}"] if spec.positions != "default" else []
    parts += ["pooled"] if spec.tokens == "none" else []
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(part for part in parts if part))


class Source:
    """A data set's features under one backbone, with its labels.

    Args:
        reader: The data set.
        folder: Of the cache.
        choice: Makes the features where they are missing.
        views: What is extracted.
        validation: ``train`` lets images of the validation part be trained on.
    """

    def __init__(
        self,
        reader: Dataset,
        folder: Path,
        choice: BackboneChoice,
        views: tuple[str, ...],
        validation: str = "keep",
    ) -> None:
        self.reader, self.folder, self.choice = reader, folder, choice
        self.views, self.validation = views, validation
        self._backbone: Backbone | None = None
        self._cache: Cache | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a finished cache."""
        try:
            Cache.open(self.folder)
        except CacheNotFoundError:
            return False
        return True

    def estimate(self, images: int) -> int:
        """Return about how many bytes the cache will take on the disk; 0 where it is there.

        Raises:
            BackboneError: There is no such backbone.
        """
        from featcache.extraction.sizes import expected_shapes

        if self.exists:
            return 0
        shapes = expected_shapes(self.choice.spec)
        return images * bytes_per_image(shapes, views=len(self.views), dtype="float16")

    def prepare(self, on_progress: Callable[[int, int], None]) -> None:
        """Extract what is missing, and add prompts that an older cache lacks.

        Raises:
            FingerprintMismatchError: The cache holds features of another backbone.
        """
        from featcache.backbone import load_backbone
        from featcache.extraction.backbone import load_backbone_of
        from featcache.extraction.extract import extract
        from featcache.extraction.plan import ExtractConfig
        from featcache.storage.durable import require_writable
        from featcache.storage.manifest import Manifest

        if self._cache is not None:
            return
        choice = self.choice
        if not self.exists:
            require_writable(self.folder)  # before a backbone is loaded
            self._backbone = load_backbone(
                choice.spec, device=choice.device, precision=choice.precision
            )
            extract(
                self.reader,
                self.folder,
                self._backbone,
                ExtractConfig.build(views=self.views, max_failures=choice.max_failures),
                on_event=lambda event: on_progress(event.done, event.total),
            )
        else:
            there = Manifest.read(self.folder)
            asked = choice.spec.to_dict()
            changes = {k: v for k, v in asked.items() if there.backbone.get(k, v) != v}
            if changes:  # perhaps the same weights under another path; loading tells
                self._backbone = load_backbone_of(
                    there, device=choice.device, precision=choice.precision, **changes
                )
        self._cache = self._open()

    def _open(self) -> Cache:
        """Open the cache under the reader's labels."""
        from featcache.maintenance.relabel import labels_of, relabel

        cache, reader = Cache.open(self.folder), self.reader
        measured = reader.measured_queries
        labels = with_measured(cache.samples, labels_of(reader, cache.samples), measured)
        if _lacks_prompts(cache, labels):
            relabel(self.folder, reader, self._load)
            cache = Cache.open(self.folder)
        labels = distinct_labels(labels, f"{reader.info.title} in {reader.root}")
        cache.labels = cache.coded_labels = _in_splits(labels, self.validation)
        return cache

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

    @property
    def cache(self) -> Cache:
        """The finished cache; :meth:`prepare` has been called."""
        if self._cache is None:
            self._cache = self._open()
        return self._cache

    @cached_property
    def vectors(self) -> ImageVectors:
        """Its vectors per image."""
        return ImageVectors(self.cache)

    @property
    def backbone(self) -> Backbone:
        """The backbone that made the features, loaded once."""
        return self._load(self.cache.manifest)

    @cached_property
    def text(self) -> SoftText:
        """The text tower; the backbone is loaded when a method asks for it."""
        from adapter.methods.text import SoftText

        return SoftText(self._load(self.cache.manifest))

    def release(self) -> None:
        """Forget vectors and backbone; they are read again when they are needed."""
        self.__dict__.pop("vectors", None)
        self.__dict__.pop("text", None)
        self._backbone = None

    @property
    def extraction_seconds(self) -> float:
        """Wall time of all extractions into this cache that came to their end."""
        lines = (self.folder / HISTORY).read_text("utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        return sum(float(r["seconds"]) for r in records if r["command"] == "extract")


def _lacks_prompts(cache: Cache, labels: pa.Table) -> bool:
    """Tell whether a query of the labels has no prompt tokens in the cache."""
    for query in queries_of(labels):
        try:
            cache.prompt(query)
        except PromptNotFoundError:
            return True
    return False


def _in_splits(labels: pa.Table, validation: str) -> pa.Table:
    """Put the validation part into the training part where a task asks for it."""
    if validation == "keep":
        return labels
    split = labels["split"]
    joined = pc.if_else(pc.equal(split, "val"), "train", split)
    return labels.set_column(labels.schema.get_field_index("split"), "split", joined)


def old_cache(caches: Path, task: Task) -> Path | None:
    """Return the cache of a run from before caches were named after their backbone."""
    folder = caches / task.key
    return folder if folder_exists(folder) else None

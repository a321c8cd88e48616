"""The pipeline from a data set to a finished cache; the same call makes it, or goes on.

    extract(dataset, out, backbone, ExtractConfig(views=("original", "hflip")))

What is to be done, and what of it an earlier run has done, is in ``plan.py``; here it is run.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from featcache.datasets.columns import belonging
from featcache.errors import TooManyFailuresError
from featcache.extraction.checks import named, require_readable, require_room
from featcache.extraction.finish import finish
from featcache.extraction.pipeline import make_shards
from featcache.extraction.plan import (
    ExtractConfig,
    checked_images,
    finished_shards,
    plan_manifest,
    resumed_manifest,
    split_chunks,
)
from featcache.storage.durable import make_folders, remove_temporaries
from featcache.storage.history import append_history
from featcache.storage.layout import SHARDS
from featcache.storage.lock import writing
from featcache.storage.tables import queries_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from featcache.backbone import Backbone
    from featcache.datasets.base import Dataset
    from featcache.extraction.plan import Kept
    from featcache.storage.manifest import FileEntry
    from featcache.storage.shard import SampleRecord


@dataclass(frozen=True, kw_only=True)
class ExtractEvent:
    """Something that a caller may want to show.

    Attributes:
        kind: ``start``, ``image`` (one more has features or has failed), ``shard`` (one more
            committed), ``finish`` (tables and prompts are being written).
        done: Images done, those of finished shards included.
        failed: Images failed so far.
        total: Images planned.
        resumed: Images in shards of an earlier run.
    """

    kind: Literal["start", "image", "shard", "finish"]
    done: int
    failed: int
    total: int
    resumed: int


@dataclass(frozen=True, kw_only=True)
class ExtractSummary:
    """How an extraction ended.

    Attributes:
        out: The cache.
        images: Images with features.
        failed: Images without, each with its reason in samples.parquet.
        reused: Images in shards of an earlier run.
        prompts: Distinct prompts.
        labels: Label rows.
        bytes: Size of the cache on the disk.
        seconds: Wall time of this run.
        images_per_second: Images newly extracted over wall time.
    """

    out: Path
    images: int
    failed: int
    reused: int
    prompts: int
    labels: int
    bytes: int
    seconds: float
    images_per_second: float


def extract(
    dataset: Dataset,
    out: str | Path,
    backbone: Backbone,
    config: ExtractConfig | None = None,
    on_event: Callable[[ExtractEvent], None] | None = None,
) -> ExtractSummary:
    """Make, or finish, a cache.

    Args:
        dataset: Images and labels.
        out: The cache's folder; made when it is not there. Finished shards in it are kept.
        backbone: The frozen model.
        config: How features are made and stored.
        on_event: Called after every image; must be quick.

    Raises:
        FingerprintMismatchError: ``out`` holds features of other settings.
        CacheLockedError: Another process writes to ``out``.
        DatasetError: ``out`` holds shards of other images, or the data set is unreadable.
        BackboneError: A prompt is longer than the text tower reads.
        DiskSpaceError, WriteError: The features do not fit on the disk, or cannot be written.
        TooManyFailuresError: More than ``max_failures`` of all images have failed, or none of a
            few that are drawn at the start can be read.
    """
    config = config or ExtractConfig()
    out = Path(out)
    started = time.monotonic()
    images = checked_images(dataset.images()[: config.limit])
    labels = dataset.labels_table()
    if config.limit is not None:
        labels = belonging(labels, images.table)
    texts = queries_of(labels) | {*config.prompts}
    backbone.check_prompts(texts | set(dataset.measured_queries.values()))
    manifest = plan = plan_manifest(dataset, backbone, config, len(images))
    if not out.exists():  # else what is there needs no room
        chunks = split_chunks(images, manifest.shard_size, manifest.part)
        require_room(out, manifest, sum(map(len, chunks.values())))
    make_folders(out / SHARDS)
    with writing(out), stopped_by_sigterm():
        manifest = resumed_manifest(out, manifest)
        if config.name:
            manifest = replace(manifest, name=config.name)
        remove_temporaries(out)
        remove_temporaries(out / SHARDS)
        chunks = split_chunks(images, manifest.shard_size, manifest.part)
        kept = finished_shards(out, manifest, chunks)
        missing = {number: chunk for number, chunk in chunks.items() if number not in kept}
        run = _Run(out, config, on_event, sum(map(len, chunks.values())))
        run.keep(kept)
        to_do = [image for chunk in missing.values() for image in chunk]
        require_room(out, manifest, len(to_do))
        require_readable(dataset.root, to_do, backbone.preprocessing, allowed=run.failures_left)
        if missing:
            manifest = replace(manifest, provenance=plan.provenance)
        if missing or not manifest.files:
            manifest = manifest.unfinished()
            manifest.write(out)
        run.report("start")
        make_shards(
            missing,
            root=dataset.root,
            out=out,
            backbone=backbone,
            manifest=manifest,
            batch_size=config.batch_size,
            workers=config.workers,
            on_image=run.image,
            on_shard=run.shard,
        )
        run.report("finish")
        finished = finish(
            out,
            manifest,
            run.entries,
            labels,
            dataset.measured_queries,
            backbone,
            config.prompts,
        )
        seconds = time.monotonic() - started
        new = run.total - run.resumed
        summary = ExtractSummary(
            out=out,
            images=finished.images,
            failed=finished.failed,
            reused=run.resumed,
            prompts=finished.prompts,
            labels=finished.labels,
            bytes=sum(f.stat().st_size for f in out.rglob("*") if f.is_file()),
            seconds=seconds,
            images_per_second=new / seconds if new else 0.0,
        )
        append_history(out, manifest, "extract", summary, str(backbone.device))
    return summary


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end a run like Ctrl-C does: threads are joined, temporary files removed.

    A handler that the program has set itself stays; so do those of other threads than the main.
    """
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if not ours:
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _Run:
    """The counters of one extraction, and whom to tell."""

    def __init__(
        self,
        out: Path,
        config: ExtractConfig,
        on_event: Callable[[ExtractEvent], None] | None,
        total: int,
    ) -> None:
        self.out = out
        self.config = config
        self.on_event = on_event
        self.total = total
        self.done = self.resumed = 0
        self.failures: list[tuple[str, str]] = []  # path and reason
        self.entries: dict[int, FileEntry] = {}

    @property
    def failures_left(self) -> float:
        """How many images may fail yet."""
        return self.config.max_failures * self.total - len(self.failures)

    def report(self, kind: Literal["start", "image", "shard", "finish"]) -> None:
        """Tell the caller where the run is."""
        if self.on_event:
            self.on_event(
                ExtractEvent(
                    kind=kind,
                    done=self.done,
                    failed=len(self.failures),
                    total=self.total,
                    resumed=self.resumed,
                )
            )

    def keep(self, kept: Mapping[int, Kept]) -> None:
        """Count what an earlier run has done."""
        for number, (records, entry) in kept.items():
            self.entries[number] = entry
            self.resumed += len(records)
            for record in records:
                self._count(record)

    def image(self, record: SampleRecord) -> None:
        """Count an image of this run."""
        self._count(record)
        self.report("image")

    def shard(self, number: int, entry: FileEntry) -> None:
        """Remember a shard that is on the disk."""
        self.entries[number] = entry
        self.report("shard")

    def _count(self, record: SampleRecord) -> None:
        """Count an image; stop the run where too many have failed."""
        self.done += 1
        if record.error is not None:
            self.failures.append((record.path, record.error))
        if self.failures_left < 0:
            raise TooManyFailuresError(
                f"{len(self.failures):,} of {self.total:,} images have failed, more than the share "
                f"of {self.config.max_failures:g} that --max-failures accepts:"
                f"{named(self.failures)}\nFinished shards are kept: mend the images or give a "
                f"larger --max-failures, and the same command goes on. "
                f"`featcache info {self.out} --failures` lists the failures in them"
            )

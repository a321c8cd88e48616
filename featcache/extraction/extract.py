"""The pipeline from a data set to a finished cache; the same call makes it, or goes on.

    extract(dataset, out, backbone, ExtractConfig(views=("original", "hflip")))

On a finished cache the same call makes it follow its data set. What there is to do is in
``work.py``; here it is done.
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from featcache.datasets.columns import ImageRecords, belonging
from featcache.errors import TooManyFailuresError
from featcache.extraction.checks import named, require_readable, require_room
from featcache.extraction.finish import finish
from featcache.extraction.parts import write_planned
from featcache.extraction.pipeline import make_shards
from featcache.extraction.plan import (
    ExtractConfig,
    checked_images,
    plan_manifest,
    resumed_manifest,
    split_chunks,
)
from featcache.extraction.work import remaining_work
from featcache.storage.durable import make_folders, remove_temporaries
from featcache.storage.history import append_history
from featcache.storage.layout import SHARDS, folder_exists, shard_name
from featcache.storage.lock import reading, writing
from featcache.storage.tables import changed, queries_of, without_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from featcache.backbone import Backbone
    from featcache.datasets.base import Dataset
    from featcache.extraction.growth import Growth
    from featcache.extraction.work import Work
    from featcache.storage.manifest import FileEntry
    from featcache.storage.shard import SampleRecord


@dataclass(frozen=True, kw_only=True)
class ExtractEvent:
    """Something that a caller may want to show.

    Attributes:
        kind: ``compare`` (one more file of the data set is compared with the cache; ``done`` and
            ``total`` count files), ``start``, ``image`` (one more has features or has failed),
            ``shard`` (one more committed), ``finish`` (tables and prompts are being written).
        done: Images done, those of finished shards included.
        failed: Images failed so far.
        total: Images planned.
        resumed: Images in shards of an earlier run.
        growth: At the start, how the data set differs from the cache; None for a first extraction.
    """

    kind: Literal["compare", "start", "image", "shard", "finish"]
    done: int
    failed: int
    total: int
    resumed: int
    growth: Growth | None = None


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
        growth: How the data set differed from the cache, in words; empty for a first extraction.
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
    growth: str = ""


def extract(
    dataset: Dataset,
    out: str | Path,
    backbone: Backbone,
    config: ExtractConfig | None = None,
    on_event: Callable[[ExtractEvent], None] | None = None,
) -> ExtractSummary:
    """Make a cache, finish it, or let it follow its data set.

    Args:
        dataset: Images and labels.
        out: The cache's folder; made when it is not there. Finished shards in it are kept. On a
            finished cache all files of the data set are compared with it, by their SHA-256.
        backbone: The frozen model.
        config: How features are made and stored.
        on_event: Called after every image; must be quick.

    Raises:
        FingerprintMismatchError: ``out`` holds features of other settings.
        CacheLockedError: Another process writes to ``out``.
        DatasetError: ``out`` holds another data set, or the data set is unreadable.
        CacheFormatError: Shards of a finished cache are damaged, and the data set has changed.
        BackboneError: A prompt is longer than the text tower reads.
        DiskSpaceError, WriteError: The features do not fit on the disk, or cannot be written.
        TooManyFailuresError: More than ``max_failures`` of all images have failed, or none of a
            few that are drawn at the start can be read.
    """
    config = config or ExtractConfig()
    out = Path(out)
    started = time.monotonic()
    images, listed = _images(dataset, config)
    labels = dataset.labels_table()
    texts = queries_of(labels) | {*config.prompts}
    backbone.check_prompts(texts | set(dataset.measured_queries.values()))
    manifest = plan = plan_manifest(dataset, backbone, config, images)
    if not out.exists():  # else what is there needs no room
        chunks = split_chunks(images, manifest.shard_size, manifest.part)
        require_room(out, manifest, sum(map(len, chunks.values())))
    make_folders(out / SHARDS)
    with writing(out), stopped_by_sigterm():
        if manifest.part and not folder_exists(out):
            write_planned(out, images)
        manifest = resumed_manifest(out, manifest)
        if config.name:
            manifest = replace(manifest, name=config.name)
        remove_temporaries(out)
        remove_temporaries(out / SHARDS)
        run = _Run(out, config, on_event)
        work = remaining_work(out, manifest, dataset.root, images, listed, run.compare)
        run.keep(work)
        to_do = work.growth.images
        require_room(out, manifest, len(to_do))
        if work.chunks:
            manifest = replace(manifest, provenance=plan.provenance)
        if work.first:
            require_readable(dataset.root, to_do, backbone.preprocessing, allowed=run.failures_left)
            if work.chunks or not manifest.files:
                manifest = manifest.unfinished()
                manifest.write(out)
        run.report("start", None if work.first else work.growth)
        make_shards(
            work.chunks,
            changes=work.changes,
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
        if work.chunks and not work.first:
            # From here on the cache is not complete until `finish` has ended: its tables would not
            # be those of its shards. Before, it is what it was.
            shards = {shard_name(n): run.entries[n] for n in sorted(run.entries)}
            manifest = manifest.with_shards(shards)
            manifest.write(out)
        finished = finish(
            out,
            manifest,
            run.entries,
            _labels_of(labels, images, listed, work),
            dataset.measured_queries,
            backbone,
            config.prompts,
        )
        seconds = time.monotonic() - started
        summary = ExtractSummary(
            out=out,
            images=finished.images,
            failed=finished.failed,
            reused=run.resumed,
            prompts=finished.prompts,
            labels=finished.labels,
            bytes=sum(f.stat().st_size for f in out.rglob("*") if f.is_file()),
            seconds=seconds,
            images_per_second=len(to_do) / seconds,
            growth="" if work.first else str(work.growth),
        )
        device = str(backbone.device)
        append_history(out, manifest, "extract", summary, device, {device: tuple(work.chunks)})
    return summary


def plan_extraction(
    dataset: Dataset,
    out: str | Path,
    backbone: Backbone,
    config: ExtractConfig | None = None,
    on_event: Callable[[ExtractEvent], None] | None = None,
) -> Growth:
    """Say what `extract` would do with the same arguments; nothing is written, nothing extracted.

    For a new cache no image is touched. Arguments and errors are those of `extract`.
    """
    config = config or ExtractConfig()
    out = Path(out)
    images, listed = _images(dataset, config)
    manifest = plan_manifest(dataset, backbone, config, images)
    with reading(out):
        manifest = resumed_manifest(out, manifest)
        compare = _Run(out, config, on_event).compare
        return remaining_work(out, manifest, dataset.root, images, listed, compare).growth


def _images(dataset: Dataset, config: ExtractConfig) -> tuple[ImageRecords, list[str]]:
    """Return the images to have features of, and the ids of those that ``limit`` leaves out."""
    images = dataset.images()
    rest = images[len(images) if config.limit is None else config.limit :]
    return checked_images(images[: config.limit]), [image.sample_id for image in rest]


def _labels_of(
    labels: pa.Table, images: ImageRecords, listed: Sequence[str], work: Work
) -> pa.Table:
    """Leave out labels of images that ``limit`` leaves out, unless they are there already."""
    if not listed:
        return labels
    known = [table.select(["sample_id"]) for table in (images.table, without_gone(work.samples))]
    return belonging(labels, pa.concat_tables(known))


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
    ) -> None:
        self.out = out
        self.config = config
        self.on_event = on_event
        self.total = self.done = self.resumed = 0
        self.failures: list[tuple[str, str]] = []  # path and reason
        self.entries: dict[int, FileEntry] = {}

    @property
    def failures_left(self) -> float:
        """How many images may fail yet."""
        return self.config.max_failures * self.total - len(self.failures)

    def compare(self, done: int, total: int) -> None:
        """Tell how many files of the data set are compared with the cache."""
        if self.on_event:
            self.on_event(ExtractEvent(kind="compare", done=done, failed=0, total=total, resumed=0))

    def report(
        self, kind: Literal["start", "image", "shard", "finish"], growth: Growth | None = None
    ) -> None:
        """Tell the caller where the run is."""
        if self.on_event:
            self.on_event(
                ExtractEvent(
                    kind=kind,
                    done=self.done,
                    failed=len(self.failures),
                    total=self.total,
                    resumed=self.resumed,
                    growth=growth,
                )
            )

    def keep(self, work: Work) -> None:
        """Count what an earlier run has done."""
        there = without_gone(changed(work.samples, work.growth.changes))
        failed: Any = there.filter(pc.field("status") == "failed").select(["path", "error"])
        self.entries = dict(work.kept)
        self.done = self.resumed = there.num_rows
        self.total = self.resumed + len(work.growth.images)
        self.failures = [(line["path"], line["error"]) for line in failed.to_pylist()]
        self._check()

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
        self._check()

    def _check(self) -> None:
        """Stop the run where too many images have failed."""
        if self.failures_left < 0:
            raise TooManyFailuresError(
                f"{len(self.failures):,} of {self.total:,} images have failed, more than the share "
                f"of {self.config.max_failures:g} that --max-failures accepts:"
                f"{named(self.failures)}\nFinished shards are kept: mend the images or give a "
                f"larger --max-failures, and the same command goes on. "
                f"`featcache info {self.out} --failures` lists the failures in them"
            )

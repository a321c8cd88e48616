"""The pipeline from a data set to a finished cache; the same call makes it, or goes on.

    extract(dataset, out, backbone, ExtractConfig(views=("original", "hflip")))

On a finished cache the same call makes it follow its data set. What there is to do is in
``work.py``; here it is done.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from featcache.datasets.columns import ImageRecords, belonging
from featcache.extraction.batch_size import settled_batch_size
from featcache.extraction.checks import require_readable, require_room
from featcache.extraction.counting import Counting
from featcache.extraction.engine import Job, in_this_process
from featcache.extraction.finish import finish
from featcache.extraction.parts import write_planned
from featcache.extraction.plan import (
    ExtractConfig,
    checked_images,
    plan_manifest,
    resumed_manifest,
    split_chunks,
)
from featcache.extraction.work import remaining_work
from featcache.stopping import stopped_by_sigterm
from featcache.storage.durable import make_folders, remove_temporaries
from featcache.storage.history import append_history
from featcache.storage.layout import SHARDS, folder_exists, shard_name
from featcache.storage.lock import reading, writing
from featcache.storage.makers import forget_makers, noted_makers
from featcache.storage.tables import queries_of, without_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from featcache.backbone import Backbone
    from featcache.datasets.base import Dataset
    from featcache.extraction.counting import ExtractEvent
    from featcache.extraction.engine import Engine
    from featcache.extraction.growth import Growth
    from featcache.extraction.work import Work


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
        batch_size: Images per forward pass, at most.
        growth: How the data set differed from the cache, in words; empty for a first extraction.
        rates: Images per second of each device, where several have worked.
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
    batch_size: int
    growth: str = ""
    rates: Mapping[str, float] = field(default_factory=dict)


def extract(
    dataset: Dataset,
    out: str | Path,
    backbone: Backbone,
    config: ExtractConfig | None = None,
    on_event: Callable[[ExtractEvent], None] | None = None,
    engine: Engine = in_this_process,
) -> ExtractSummary:
    """Make a cache, finish it, or let it follow its data set.

    Args:
        dataset: Images and labels.
        out: The cache's folder; made when it is not there. Finished shards in it are kept. On a
            finished cache all files of the data set are compared with it, by their SHA-256.
        backbone: The frozen model.
        config: How features are made and stored.
        on_event: Called after every image; must be quick.
        engine: Who makes the shards: this process, or others (`featcache.distributed`).

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
    batch_size = settled_batch_size(config, out, backbone)
    config = config.replace(batch_size=batch_size)
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
        run = Counting(out, config, on_event)
        work = remaining_work(out, manifest, dataset.root, images, listed, run.compare)
        run.keep(work)
        to_do = work.growth.images
        require_room(out, manifest, len(to_do))
        if work.chunks:
            manifest = replace(manifest, provenance=plan.provenance)
        if work.first:
            require_readable(dataset.root, to_do, backbone, allowed=run.failures_left)
            if work.chunks or not manifest.files:
                manifest = manifest.unfinished(run.total)
                manifest.write(out)
        run.report("start", None if work.first else work.growth)
        engine(
            Job(
                chunks=work.chunks,
                changes=work.changes,
                root=dataset.root,
                out=out,
                backbone=backbone,
                manifest=manifest,
                batch_size=batch_size,
                workers=config.workers,
            ),
            run,
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
            batch_size=batch_size,
            growth="" if work.first else str(work.growth),
            rates=run.rates,
        )
        device = str(backbone.device)
        append_history(out, manifest, "extract", summary, device, noted_makers(out))
        forget_makers(out)
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
        compare = Counting(out, config, on_event).compare
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

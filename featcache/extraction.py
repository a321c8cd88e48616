"""The pipeline from a data set to a finished cache; the same call makes it, or goes on.

    extract(dataset, out, backbone, ExtractConfig(views=("original", "hflip")))

Shard k holds the images k * shard_size ... of the data set, whichever of them fail. So a shard's
bytes do not depend on where an earlier run stopped, and several machines can make every n-th
shard each (``part``).
"""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from featcache.durable import make_folders, remove_temporaries
from featcache.errors import (
    CacheFormatError,
    DatasetError,
    FeatcacheError,
    FingerprintMismatchError,
    TooManyFailuresError,
)
from featcache.fingerprint import Fingerprint, require_same
from featcache.finish import entry as describe
from featcache.finish import finish
from featcache.history import append_history
from featcache.layout import (
    DEFAULT_SHARD_SIZE,
    DTYPES,
    SHARDS,
    VIEWS,
    Shapes,
    folder_exists,
    shard_name,
)
from featcache.lock import writing
from featcache.manifest import FileEntry, Manifest, Part
from featcache.pipeline import make_shards
from featcache.recovery import shard_numbers
from featcache.shard import SampleRecord, ShardIndex, open_shard_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from featcache.backbone import Backbone
    from featcache.datasets.base import Dataset, ImageRecord

EARLY = 100  # images after which the share of failures is judged for the first time


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """How features are made and stored.

    Attributes:
        views: Which views are stored, ``original`` first.
        dtype: How tokens are stored.
        batch_size: Images per forward pass (provenance: it may change the last bits).
        workers: Decoding threads; 0 for one per processor, 32 at most.
        shard_size: Planned images per shard.
        limit: Only the first images of the data set; None for all.
        max_failures: Share of unreadable images, from 0 to 1, above which the run stops.
        prompts: Prompts to encode beside those of the labels.
        part: (i, n) with i from 1 to n: make only every n-th shard, from the i-th. The parts of n
            machines, each in a folder of its own, are put together by `featcache.merge`.
    """

    views: tuple[str, ...] = ("original",)
    dtype: str = "float16"
    batch_size: int = 32
    workers: int = 0
    shard_size: int = DEFAULT_SHARD_SIZE
    limit: int | None = None
    max_failures: float = 0.25
    prompts: tuple[str, ...] = ()
    part: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if not self.views or len(set(self.views)) < len(self.views):
            raise FeatcacheError(f"views must be one or more different names, not {self.views}")
        if unknown := [view for view in self.views if view not in VIEWS]:
            raise FeatcacheError(f"unknown view {unknown[0]!r}; known are {', '.join(VIEWS)}")
        if self.dtype not in DTYPES:
            raise FeatcacheError(f"unknown dtype {self.dtype!r}; known are {', '.join(DTYPES)}")
        for name in ("batch_size", "shard_size"):
            if getattr(self, name) < 1:
                raise FeatcacheError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.limit is not None and self.limit < 1:
            raise FeatcacheError(f"limit must be at least 1, not {self.limit}")
        if not 0 <= self.max_failures <= 1:
            raise FeatcacheError(f"max_failures is a share from 0 to 1, not {self.max_failures}")
        if self.workers < 0:
            raise FeatcacheError(f"workers must not be negative, not {self.workers}")
        if self.part is not None and not 1 <= self.part[0] <= self.part[1]:
            raise FeatcacheError(
                f"part is I/N with I from 1 to N, not {'/'.join(map(str, self.part))}"
            )


@dataclass(frozen=True, kw_only=True)
class ExtractEvent:
    """Something that a caller may want to show.

    Attributes:
        kind: ``start``, ``image`` (one more decoded or failed), ``shard`` (one more committed),
            ``finish`` (tables and prompts are being written).
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
        TooManyFailuresError: More than ``max_failures`` of the images were unreadable.
    """
    config = config or ExtractConfig()
    out = Path(out)
    started = time.monotonic()
    images = _checked(dataset.images()[: config.limit])
    planned = {image.sample_id for image in images}
    labels = [label for label in dataset.labels() if label.sample_id in planned]
    manifest = plan_manifest(dataset, backbone, config, len(images))
    make_folders(out / SHARDS)
    with writing(out), stopped_by_sigterm():
        manifest = _require_same_cache(out, manifest)
        remove_temporaries(out)
        remove_temporaries(out / SHARDS)
        chunks = split_chunks(images, manifest.shard_size, manifest.part)
        kept = finished_shards(out, manifest, chunks)
        missing = {number: chunk for number, chunk in chunks.items() if number not in kept}
        if missing or not manifest.files:
            manifest = manifest.unfinished()
            manifest.write(out)
        run = _Run(config, on_event, sum(map(len, chunks.values())))
        run.keep(kept)
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
        append_history(out, "extract", summary, str(backbone.device))
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


def plan_manifest(
    dataset: Dataset, backbone: Backbone, config: ExtractConfig, images: int = 0
) -> Manifest:
    """Return the manifest of an extraction that has not begun, of so many planned images."""
    return Manifest(
        dataset={"name": dataset.info.name, "options": _json_options(dataset.options)},
        fingerprint=Fingerprint(
            backbone=backbone.identity,
            preprocessing=backbone.preprocessing.to_dict(),
            views=config.views,
            dtype=config.dtype,
        ),
        shapes=Shapes.of(backbone),
        shard_size=config.shard_size,
        backbone=backbone.spec.to_dict(),
        provenance={
            "featcache": version("featcache"),
            "torch": version("torch"),
            "open_clip_torch": version("open_clip_torch"),
            "pillow": version("pillow"),
            "precision": backbone.precision,
            "batch_size": config.batch_size,
        },
        part=Part(index=config.part[0], count=config.part[1], images=images)
        if config.part
        else None,
    )


def split_chunks(
    images: Sequence[ImageRecord], size: int, part: Part | None = None
) -> dict[int, Sequence[ImageRecord]]:
    """Split the planned images into those of each shard; of a part, only its own shards."""
    chunks = {n: images[n * size : (n + 1) * size] for n in range(-(-len(images) // size))}
    return {number: chunk for number, chunk in chunks.items() if not part or part.has(number)}


class Kept(NamedTuple):
    """A shard of an earlier run."""

    records: list[SampleRecord]
    entry: FileEntry


def finished_shards(
    out: Path, manifest: Manifest, chunks: Mapping[int, Sequence[ImageRecord]]
) -> dict[int, Kept]:
    """Return the finished shards of an earlier run, and refuse those of other images.

    Shards that cache.json does not describe yet are compared with their own digests, so that
    what is described has been read and is intact. Not finished are damaged shards, and a last one
    that holds the beginning of its chunk: the data set, or ``limit``, has grown.
    """
    kept = {}
    present = shard_numbers(out)
    for number in present:
        entry = manifest.files.get(shard_name(number))
        try:
            shard = shard_records(out, manifest, number)
            records = shard.records()
        except CacheFormatError:
            continue  # made again, like one that was never written
        found = [(record.sample_id, record.path) for record in records]
        planned = [(image.sample_id, image.path) for image in chunks.get(number, ())]
        if found == planned:
            if entry or not shard.damaged_rows():
                kept[number] = Kept(records, entry or describe(shard.path, shard.num_rows))
        elif found != planned[: len(found)] or number != present[-1]:
            first = next((f for f, p in zip(found, planned, strict=False) if f != p), found[-1:])
            raise DatasetError(
                f"{shard.path} holds other images than the data set now lists in its place "
                f"(first difference: {first}); the data set has changed, or --limit is smaller: "
                "extract into a new folder"
            )
    return kept


def shard_records(out: Path, manifest: Manifest, number: int) -> ShardIndex:
    """Open a shard of this cache; raises where it belongs to another."""
    index = open_shard_of(out, manifest, shard_name(number))
    if index.fingerprint != manifest.fingerprint.digest or index.index != number:
        raise FingerprintMismatchError(
            f"{index.path} is shard {index.index} of features {index.fingerprint}, expected "
            f"{number} of {manifest.fingerprint.digest}; remove it, or extract into a new folder"
        )
    return index


class _Run:
    """The counters of one extraction, and whom to tell."""

    def __init__(
        self,
        config: ExtractConfig,
        on_event: Callable[[ExtractEvent], None] | None,
        total: int,
    ) -> None:
        self.config = config
        self.on_event = on_event
        self.total = total
        self.done = self.failed = self.resumed = 0
        self.reasons: list[str] = []
        self.entries: dict[int, FileEntry] = {}

    def report(self, kind: Literal["start", "image", "shard", "finish"]) -> None:
        """Tell the caller where the run is."""
        if self.on_event:
            self.on_event(
                ExtractEvent(
                    kind=kind,
                    done=self.done,
                    failed=self.failed,
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
                self._count(record.error)
        self.report("start")

    def image(self, record: SampleRecord) -> None:
        """Count an image of this run."""
        self._count(record.error)
        self.report("image")

    def shard(self, number: int, entry: FileEntry) -> None:
        """Remember a shard that is on the disk."""
        self.entries[number] = entry
        self.report("shard")

    def _count(self, error: str | None) -> None:
        """Count an image; stop the run where too many have failed."""
        self.done += 1
        if error is not None:
            self.failed += 1
            self.reasons.append(error)
        enough = self.done >= min(EARLY, self.total)
        if enough and self.failed > self.config.max_failures * self.done:
            reasons = "; ".join(dict.fromkeys(self.reasons[-20:]))
            raise TooManyFailuresError(
                f"{self.failed} of the first {self.done} images are unreadable, more than the "
                f"share of {self.config.max_failures:g} that --max-failures accepts. Reasons: "
                f"{reasons}. Finished shards are kept."
            )


def _checked(images: list[ImageRecord]) -> list[ImageRecord]:
    """Refuse ids that a cache cannot hold: it stores them as UTF-8 without zero bytes."""
    seen: set[str] = set()
    for image in images:
        for text in (image.sample_id, image.path):
            try:
                storable = bool(text) and b"\0" not in text.encode()
            except UnicodeEncodeError:
                storable = False
            if not storable:
                raise DatasetError(
                    f"{text!r} is not valid as UTF-8 text without zero bytes; rename the file"
                )
        if image.sample_id in seen:
            raise DatasetError(f"the data set lists the sample id {image.sample_id!r} twice")
        seen.add(image.sample_id)
    return images


def _require_same_cache(out: Path, manifest: Manifest) -> Manifest:
    """Return the manifest to go on with: that of the folder where it holds the same features."""
    if not folder_exists(out):
        if numbers := shard_numbers(out):
            raise FeatcacheError(
                f"{out} holds {len(numbers)} shards but no cache.json; rebuild it with "
                f"`featcache repair {out}`, or choose another --out"
            )
        return manifest
    there = Manifest.read(out)
    require_same(there.fingerprint, manifest.fingerprint, f"the cache {out}", "this extraction")
    if there.dataset["name"] != manifest.dataset["name"]:
        raise DatasetError(
            f"{out} holds the data set {there.dataset['name']}, not {manifest.dataset['name']}; "
            "choose another --out"
        )
    if there.shard_size != manifest.shard_size:
        raise FingerprintMismatchError(
            f"{out} has {there.shard_size} images per shard, this extraction "
            f"{manifest.shard_size}; give --shard-size {there.shard_size}, or a new --out"
        )
    if str(there.part) != str(manifest.part):
        raise FeatcacheError(
            f"{out} holds {f'part {there.part}' if there.part else 'a whole cache'}, this "
            f"extraction makes {f'part {manifest.part}' if manifest.part else 'a whole cache'}; "
            "each part needs a folder of its own"
        )
    return replace(there, part=manifest.part)


def _json_options(options: dict[str, Any]) -> dict[str, Any]:
    """Keep the options that were given; paths are written as text."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in options.items() if v is not None}

"""The pipeline: decode ahead, one forward pass per view, write shards, finish or resume.

    extract(dataset, out, backbone, ExtractConfig(views=("original", "hflip")))

Images are decoded and resized by threads (Pillow releases the GIL), a fixed number ahead of the
forward pass; shards are written by a thread of their own. Shard k holds the images
k * shard_size ... of the data set, whichever of them fail, and batches never cross a shard. So a
shard's bytes do not depend on where an earlier run stopped.
"""

from __future__ import annotations

import os
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from featcache.datasets.base import safe_relative
from featcache.durable import remove_temporaries
from featcache.errors import (
    DatasetError,
    FeatcacheError,
    FingerprintMismatchError,
    ImageError,
    TooManyFailuresError,
)
from featcache.fingerprint import Fingerprint, require_same
from featcache.finish import finish
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
from featcache.manifest import Manifest
from featcache.preprocess import DecodedImage, normalise, read_image
from featcache.quantise import quantise
from featcache.shard import SampleRecord, ShardContent, ShardIndex, open_shard, write_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

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
    """

    views: tuple[str, ...] = ("original",)
    dtype: str = "float16"
    batch_size: int = 32
    workers: int = 0
    shard_size: int = DEFAULT_SHARD_SIZE
    limit: int | None = None
    max_failures: float = 0.25
    prompts: tuple[str, ...] = ()

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
    images = dataset.images()[: config.limit]
    labels = dataset.labels()
    manifest = plan_manifest(dataset, backbone, config)
    (out / SHARDS).mkdir(parents=True, exist_ok=True)
    with writing(out):
        manifest = _require_same_cache(out, manifest)
        remove_temporaries(out)
        remove_temporaries(out / SHARDS)
        chunks = split_chunks(images, manifest.shard_size)
        kept = finished_shards(out, manifest, chunks)
        manifest.write(out)
        run = _Run(dataset, out, backbone, config, manifest, on_event, len(images))
        run.keep(kept)
        run.extract({n: chunk for n, chunk in enumerate(chunks) if n not in kept})
        run.report("finish")
        finished = finish(
            out, manifest, len(chunks), labels, dataset.measured_queries, backbone, config.prompts
        )
        seconds = time.monotonic() - started
        new = len(images) - run.resumed
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
        finished.record(out, "extract", summary, str(backbone.device))
    return summary


def plan_manifest(dataset: Dataset, backbone: Backbone, config: ExtractConfig) -> Manifest:
    """Return the manifest of an extraction that has not begun."""
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
    )


def split_chunks(images: Sequence[ImageRecord], size: int) -> list[Sequence[ImageRecord]]:
    """Split the planned images into those of each shard."""
    return [images[start : start + size] for start in range(0, len(images), size)]


def finished_shards(
    out: Path, manifest: Manifest, chunks: Sequence[Sequence[ImageRecord]]
) -> dict[int, list[SampleRecord]]:
    """Return the records of the finished shards, and refuse those of other images.

    A last shard that holds the beginning of its chunk is not finished: the data set, or
    ``limit``, has grown.
    """
    kept = {}
    present = {
        int(path.stem): path for path in (out / SHARDS).glob("*.h5") if path.stem.isdecimal()
    }
    for number, path in sorted(present.items()):
        records = shard_records(out, manifest, number).records()
        found = [(record.sample_id, record.path) for record in records]
        chunk = chunks[number] if number < len(chunks) else ()
        planned = [(image.sample_id, image.path) for image in chunk]
        if found == planned:
            kept[number] = records
        elif found != planned[: len(found)] or number != max(present):
            first = next((f for f, p in zip(found, planned, strict=False) if f != p), found[-1:])
            raise DatasetError(
                f"{path} holds other images than the data set now lists in its place "
                f"(first difference: {first}); the data set has changed, or --limit is smaller: "
                "extract into a new folder"
            )
    return kept


def shard_records(out: Path, manifest: Manifest, number: int) -> ShardIndex:
    """Open a shard of this cache; raises where it belongs to another."""
    index = open_shard(
        out / shard_name(number),
        shapes=manifest.shapes,
        num_views=len(manifest.fingerprint.views),
        dtype=manifest.fingerprint.dtype,
    )
    if index.fingerprint != manifest.fingerprint.digest or index.index != number:
        raise FingerprintMismatchError(
            f"{index.path} is shard {index.index} of features {index.fingerprint}, expected "
            f"{number} of {manifest.fingerprint.digest}; remove it, or extract into a new folder"
        )
    return index


class _Run:
    """One extraction: what it needs in every step, and its counters."""

    def __init__(
        self,
        dataset: Dataset,
        out: Path,
        backbone: Backbone,
        config: ExtractConfig,
        manifest: Manifest,
        on_event: Callable[[ExtractEvent], None] | None,
        total: int,
    ) -> None:
        self.dataset = dataset
        self.out = out
        self.backbone = backbone
        self.config = config
        self.manifest = manifest
        self.on_event = on_event
        self.total = total
        self.done = self.failed = self.resumed = 0
        self.reasons: list[str] = []

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

    def keep(self, kept: dict[int, list[SampleRecord]]) -> None:
        """Count what an earlier run has done."""
        for records in kept.values():
            self.resumed += len(records)
            for record in records:
                self.count(record.error)
        self.report("start")

    def count(self, error: str | None) -> None:
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

    def extract(self, chunks: dict[int, Sequence[ImageRecord]]) -> None:
        """Make the given shards."""
        workers = self.config.workers or min(os.cpu_count() or 1, 32)
        ahead = workers + 2 * self.config.batch_size
        images = ((number, image) for number, chunk in chunks.items() for image in chunk)
        with (
            ThreadPoolExecutor(workers, "decode") as pool,
            ThreadPoolExecutor(1, "write") as writer,
        ):
            decoded = _ahead(pool, lambda item: self._read(item[1]), images, ahead)
            writing_now: Future[None] | None = None
            try:
                for number, chunk in chunks.items():
                    content = self._shard(chunk, decoded)
                    if writing_now:
                        writing_now.result()  # at most two shards are in memory
                    writing_now = writer.submit(
                        write_shard,
                        self.out / shard_name(number),
                        content,
                        index=number,
                        fingerprint=self.manifest.fingerprint.digest,
                    )
                    self.report("shard")
                if writing_now:
                    writing_now.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, image: ImageRecord) -> DecodedImage | str:
        """Decode an image, or return the reason why that is not possible."""
        try:
            path = safe_relative(self.dataset.root, image.path)
            return read_image(path, self.backbone.preprocessing)
        except (ImageError, DatasetError) as error:
            return str(error)

    def _shard(
        self, chunk: Sequence[ImageRecord], decoded: Iterator[DecodedImage | str]
    ) -> ShardContent:
        """Take the images of one shard through the backbone."""
        records: list[SampleRecord] = []
        rows = _Rows(self.manifest, self.backbone, len(chunk))
        batch: list[tuple[int, DecodedImage]] = []
        for position, image in enumerate(chunk):
            result = next(decoded)
            records.append(_record(image, result))
            if not isinstance(result, str):
                batch.append((position, result))
            self.count(records[-1].error)
            self.report("image")
            if batch and (len(batch) == self.config.batch_size or position + 1 == len(chunk)):
                rows.add(batch)
                batch = []
        if batch:
            rows.add(batch)
        rows.flush()
        return rows.content(records)


class _Rows:
    """The features of one shard while they come in, one batch behind the forward pass."""

    def __init__(self, manifest: Manifest, backbone: Backbone, size: int) -> None:
        shapes, self.views = manifest.shapes, manifest.fingerprint.views
        self.dtype = manifest.fingerprint.dtype
        self.backbone = backbone
        shape = (size, len(self.views), shapes.num_tokens, shapes.token_dim)
        self.tokens = np.empty(shape, self.dtype)
        self.scales = np.empty(shape[:3], np.float32) if self.dtype == "int8" else None
        self.pooled = np.empty((size, len(self.views), shapes.pooled_dim), np.float32)
        self.filled = 0
        self.positions: list[int] = []
        self.pending: tuple[list[int], list[torch.Tensor], list[torch.Tensor]] | None = None
        self.broken: dict[int, str] = {}

    def add(self, batch: Sequence[tuple[int, DecodedImage]]) -> None:
        """Start the forward passes of a batch, then fetch the results of the one before."""
        pixels = np.stack([image.pixels for _, image in batch])  # [B, 3, S, S]
        tokens, pooled = encode_views(self.backbone, pixels, self.views)
        self.flush()
        self.pending = ([position for position, _ in batch], tokens, pooled)

    def flush(self) -> None:
        """Fetch the results that are still on the device."""
        if self.pending is None:
            return
        positions, tokens, pooled = self.pending
        self.pending = None
        values = np.stack([t.float().cpu().numpy() for t in tokens], axis=1)  # [B, V, P, C]
        vectors = np.stack([p.cpu().numpy() for p in pooled], axis=1)  # [B, V, E]
        limit = np.finfo("float16" if self.dtype == "int8" else self.dtype).max
        largest = np.abs(values).max(axis=(1, 2, 3))  # [B]; NaN where any value is
        good = (largest <= limit) & np.isfinite(vectors).all(axis=(1, 2))
        for n in np.flatnonzero(~good).tolist():
            self.broken[positions[n]] = (
                f"features are not finite in {self.dtype}: the largest is {largest[n]:g}"
            )
        values, vectors = values[good], vectors[good]
        rows = slice(self.filled, self.filled + len(values))
        if self.scales is not None:
            self.tokens[rows], self.scales[rows] = quantise(values)
        else:
            self.tokens[rows] = values
        self.pooled[rows] = vectors
        self.filled += len(values)

    def content(self, records: list[SampleRecord]) -> ShardContent:
        """Return the shard's content; images with unusable features become failures."""
        for position, reason in self.broken.items():
            image = records[position]
            records[position] = SampleRecord(
                sample_id=image.sample_id, path=image.path, status="failed", error=reason
            )
        return ShardContent(
            records=records,
            tokens=self.tokens[: self.filled],
            pooled=self.pooled[: self.filled],
            scales=None if self.scales is None else self.scales[: self.filled],
        )


def encode_views(
    backbone: Backbone, pixels: np.ndarray[Any, np.dtype[np.uint8]], views: Sequence[str]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Encode uint8 pixels [B, 3, S, S] in each view.

    Returns:
        For each view tokens [B, P, C] and pooled [B, E], float32 on the backbone's device. On a
        GPU the work is queued, not waited for.
    """
    import torch

    images = normalise(
        torch.from_numpy(pixels).to(backbone.device, non_blocking=True), backbone.preprocessing
    )
    tokens, pooled = [], []
    for view in views:
        features = backbone.encode_images(images.flip(-1) if view == "hflip" else images)
        tokens.append(features.tokens)
        pooled.append(features.pooled)
    return tokens, pooled


def _record(image: ImageRecord, result: DecodedImage | str) -> SampleRecord:
    if isinstance(result, str):
        return SampleRecord(
            sample_id=image.sample_id, path=image.path, status="failed", error=result
        )
    return SampleRecord(
        sample_id=image.sample_id,
        path=image.path,
        status="ok",
        sha256=result.sha256,
        bytes=result.num_bytes,
        width=result.width,
        height=result.height,
        brightness=result.measures["brightness"],
        contrast=result.measures["contrast"],
        colourfulness=result.measures["colourfulness"],
    )


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: Iterator[Any], number: int
) -> Iterator[Any]:
    """Map in order, with at most ``number`` results computed or waiting."""
    futures: deque[Future[Any]] = deque()
    for item in items:
        futures.append(pool.submit(function, item))
        if len(futures) >= number:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def _require_same_cache(out: Path, manifest: Manifest) -> Manifest:
    """Return the manifest to go on with: that of the folder where it holds the same features."""
    if not folder_exists(out):
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
    return there


def _json_options(options: dict[str, Any]) -> dict[str, Any]:
    """Keep the options that were given; paths are written as text."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in options.items() if v is not None}

"""From images to shards: decode ahead, one forward pass per view, write behind.

Images are decoded and resized by threads (Pillow releases the GIL), a fixed number ahead of the
forward pass; shards are written by a thread of their own. A batch never crosses a shard, and holds
images of one size, so a shard's bytes depend on its images and the batch size, not on where a run
began.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from featcache.datasets.base import safe_relative
from featcache.errors import BackboneError, DatasetError, ImageError
from featcache.extraction.batches import Batches, Placed
from featcache.images.digest import FileDigest, digest_file
from featcache.images.preprocess import DecodedImage, normalize, read_image
from featcache.storage.layout import shard_name
from featcache.storage.quantize import quantize
from featcache.storage.records import SampleRecord
from featcache.storage.shard import ShardContent, write_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import torch

    from featcache.backbone import Backbone
    from featcache.datasets.base import ImageRecord
    from featcache.storage.changes import Change
    from featcache.storage.entries import FileEntry
    from featcache.storage.manifest import Manifest


def make_shards(
    chunks: Mapping[int, Sequence[ImageRecord]],
    *,
    root: Path,
    out: Path,
    backbone: Backbone,
    manifest: Manifest,
    batch_size: int,
    workers: int = 0,
    changes: Mapping[int, Sequence[Change]] = MappingProxyType({}),
    on_image: Callable[[SampleRecord], None] = lambda _: None,
    on_shard: Callable[[int, FileEntry], None] = lambda *_: None,
) -> None:
    """Make shards.

    Args:
        chunks: The images of each shard, by its number.
        root: The data set's folder.
        out: The cache's folder, locked by the caller.
        backbone: The frozen model.
        manifest: What the cache is.
        batch_size: Images per forward pass, at most; fewer where they are large (`Batches`).
        workers: Decoding threads; 0 for one per processor, 32 at most.
        changes: What a shard, by its number, says of images in earlier ones.
        on_image: Called when an image's features are known, or it has failed; may raise, which
            ends the run.
        on_shard: Called when a shard is on the disk, with its number and its entry.

    Raises:
        DiskSpaceError, WriteError: A shard could not be written; those before it are kept.
    """
    workers = workers or min(os.cpu_count() or 1, 32)
    # Squares are small; of photos as they are, at most two for each thread are in memory.
    ahead = workers + (2 * batch_size if backbone.preprocessing.one_size else workers)
    settings = manifest.settings()

    def decode(image: ImageRecord) -> DecodedImage | Failure:
        result = read(root, image, backbone)
        if isinstance(result, Failure) and manifest.schema_version == 1:
            return Failure(result.reason)  # version 1 did not say more
        return result

    def write(number: int, content: ShardContent) -> tuple[int, FileEntry]:
        digest = manifest.fingerprint.digest
        path = out / shard_name(number)
        return number, write_shard(
            path,
            replace(content, changes=changes.get(number, ())),
            index=number,
            fingerprint=digest,
            settings=settings,
            schema_version=manifest.schema_version,
        )

    images = (image for chunk in chunks.values() for image in chunk)
    with (
        ThreadPoolExecutor(workers, "decode") as pool,
        ThreadPoolExecutor(1, "write") as writer,
    ):
        decoded = _ahead(pool, decode, images, ahead)
        written: Future[tuple[int, FileEntry]] | None = None
        try:
            for number, chunk in chunks.items():
                content = _shard(chunk, decoded, manifest, backbone, batch_size, on_image)
                if written:
                    on_shard(*written.result())  # at most two shards are in memory
                written = writer.submit(write, number, content)
            if written:
                on_shard(*written.result())
        finally:
            # After an error or Ctrl-C: what waits is dropped, a shard being written is finished.
            pool.shutdown(wait=True, cancel_futures=True)


class Failure(NamedTuple):
    """Why an image has no features, and what its file is; None where that cannot be read."""

    reason: str
    file: FileDigest | None = None


def read(root: Path, image: ImageRecord, backbone: Backbone) -> DecodedImage | Failure:
    """Decode an image, or return the reason why that is not possible."""
    try:
        path = safe_relative(root, image.path)
    except DatasetError as error:
        return Failure(str(error))
    try:
        return read_image(path, backbone.preprocessing, backbone.device)
    except ImageError as error:
        return Failure(str(error), digest_file(path))


def _shard(
    chunk: Sequence[ImageRecord],
    decoded: Iterator[DecodedImage | Failure],
    manifest: Manifest,
    backbone: Backbone,
    batch_size: int,
    on_image: Callable[[SampleRecord], None],
) -> ShardContent:
    """Take the images of one shard through the backbone."""
    records: list[SampleRecord] = []
    rows = _Rows(manifest, backbone, len(chunk))

    def settle(known: Mapping[int, str | None]) -> None:
        for position, reason in known.items():
            if reason is not None:
                before = records[position]
                file = FileDigest(before.sha256 or "", before.bytes or 0)
                records[position] = _failure(chunk[position], Failure(reason, file))
            on_image(records[position])

    batches = Batches(batch_size, backbone.preprocessing.size)
    for position, image in enumerate(chunk):
        result = next(decoded)
        if isinstance(result, Failure):
            records.append(_failure(image, result))
            on_image(records[-1])
        else:
            records.append(_record(image, result))
            for batch in batches.add(Placed(position, result)):
                settle(rows.add(batch))
    for batch in batches.rest():
        settle(rows.add(batch))
    settle(rows.flush())
    return rows.content(records)


class _Rows:
    """The features of one shard while they come in, one batch behind the forward pass."""

    def __init__(self, manifest: Manifest, backbone: Backbone, size: int) -> None:
        shapes, self.views = manifest.shapes, manifest.fingerprint.views
        self.dtype = manifest.fingerprint.dtype
        self.backbone = backbone
        shape = (size, len(self.views), shapes.num_tokens, shapes.token_dim)
        self.tokens = np.empty(shape, self.dtype) if shapes.num_tokens else None
        quantized = self.tokens is not None and self.dtype == "int8"
        self.scales = np.empty(shape[:3], np.float32) if quantized else None
        self.pooled = np.empty((size, len(self.views), shapes.pooled_dim), np.float32)
        self.filled = 0
        self.positions: list[int] = []
        self.pending: tuple[list[int], list[torch.Tensor], list[torch.Tensor]] | None = None

    def add(self, batch: Sequence[Placed]) -> dict[int, str | None]:
        """Start the forward passes of a batch, then `flush` the one before."""
        import torch

        pixels = np.stack([image.pixels for _, image in batch])  # [B, 3, H, W]
        try:
            tokens, pooled = encode_views(self.backbone, pixels, self.views)
        except torch.OutOfMemoryError as error:
            known = self.flush()
            if len(batch) > 1 or self.backbone.preprocessing.one_size:
                raise BackboneError(
                    f"{len(batch)} images at once need more memory than {self.backbone.device} "
                    "has: give a smaller --batch-size"
                ) from error
            _, _, height, width = pixels.shape
            reason = f"{width} x {height} pixels need more memory than {self.backbone.device} has"
            return known | {batch[0].position: reason}
        known = self.flush()
        self.pending = ([position for position, _ in batch], tokens, pooled)
        return known

    def flush(self) -> dict[int, str | None]:
        """Fetch the results that are still on the device.

        Returns:
            For each image, by its position in the shard: None, or why its features are no use.
        """
        if self.pending is None:
            return {}
        positions, tokens, pooled = self.pending
        self.pending = None
        values = np.stack([t.float().cpu().numpy() for t in tokens], axis=1)  # [B, V, P, C]
        vectors = np.stack([p.cpu().numpy() for p in pooled], axis=1)  # [B, V, E]
        limit = np.finfo("float16" if self.dtype == "int8" else self.dtype).max
        largest = np.abs(values).max(axis=(1, 2, 3), initial=0)  # [B]; NaN where any value is
        finite = np.isfinite(vectors).all(axis=(1, 2))  # [B]
        good = (largest <= limit) & finite
        known: dict[int, str | None] = dict.fromkeys(positions)
        for n in np.flatnonzero(~good).tolist():
            known[positions[n]] = (
                f"features are not finite in {self.dtype}: the largest is {largest[n]:g}"
                if finite[n]
                else f"the pooled embedding is not finite in {self.backbone.precision}"
            )
        values, vectors = values[good], vectors[good]
        rows = slice(self.filled, self.filled + len(values))
        if self.tokens is not None:
            if self.scales is not None:
                self.tokens[rows], self.scales[rows] = quantize(values)
            else:
                self.tokens[rows] = values
        self.pooled[rows] = vectors
        self.filled += len(values)
        self.positions += [position for position, reason in known.items() if reason is None]
        return known

    def content(self, records: list[SampleRecord]) -> ShardContent:
        """Return the shard's content, in the order of the images."""
        order = np.argsort(self.positions)  # images of different sizes were done by size
        rows = slice(self.filled) if (np.diff(order) > 0).all() else order
        return ShardContent(
            records=records,
            tokens=None if self.tokens is None else self.tokens[rows],
            pooled=self.pooled[rows],
            scales=None if self.scales is None else self.scales[rows],
        )


def encode_views(
    backbone: Backbone, pixels: np.ndarray[Any, np.dtype[np.uint8]], views: Sequence[str]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Encode uint8 pixels [B, 3, H, W] in each view.

    Returns:
        For each view tokens [B, P, C] and pooled [B, E], float32 on the backbone's device. On a
        GPU the work is queued, not waited for.
    """
    import torch

    images = normalize(
        torch.from_numpy(pixels).to(backbone.device, non_blocking=True), backbone.preprocessing
    )
    tokens, pooled = [], []
    for view in views:
        features = backbone.encode_images(images.flip(-1) if view == "hflip" else images)
        tokens.append(features.tokens)
        pooled.append(features.pooled)
    return tokens, pooled


def _failure(image: ImageRecord, failure: Failure) -> SampleRecord:
    return SampleRecord(
        sample_id=image.sample_id,
        path=image.path,
        status="failed",
        error=failure.reason,
        sha256=failure.file.sha256 if failure.file else None,
        bytes=failure.file.num_bytes if failure.file else None,
    )


def _record(image: ImageRecord, result: DecodedImage) -> SampleRecord:
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

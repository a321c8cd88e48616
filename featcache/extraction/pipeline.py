"""From images to shards: decode ahead, one forward pass per view, write behind.

Images are decoded and resized by threads (Pillow releases the GIL), a fixed number ahead of the
forward pass; shards are written by a thread of their own. On a CPU, decoding and forward pass take
turns, as threads that wait for each other's cores make both slower. A batch never crosses a shard,
and holds images of one size, so a shard's bytes depend on its images and the batch size, not on
where a run began.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from featcache.datasets.base import safe_relative
from featcache.errors import DatasetError, ImageError
from featcache.extraction.batches import Batches, Placed
from featcache.extraction.rows import Rows
from featcache.images.digest import FileDigest, digest_file
from featcache.images.preprocess import DecodedImage, read_image
from featcache.storage.layout import shard_name
from featcache.storage.records import SampleRecord
from featcache.storage.shard import ShardContent, write_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

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
    maker = ShardMaker(
        root=root, backbone=backbone, manifest=manifest, batch_size=batch_size, workers=workers
    )

    def write(number: int, content: ShardContent) -> tuple[int, FileEntry]:
        content = replace(content, changes=changes.get(number, ()))
        return number, maker.write(out / shard_name(number), number, content)

    images = (image for chunk in chunks.values() for image in chunk)
    with maker.decoding() as pool, ThreadPoolExecutor(1, "write") as writer:
        written: Future[tuple[int, FileEntry]] | None = None
        try:
            decoded = maker.decoded(pool, images)
            for number, chunk in chunks.items():
                content = maker.encode(chunk, decoded, on_image)
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


@dataclass(frozen=True, kw_only=True)
class ShardMaker:
    """What makes shards of images; one serves a whole run, in this process or a distant one.

    Attributes:
        root: The data set's folder.
        backbone: The frozen model.
        manifest: What the cache is.
        batch_size: Images per forward pass, at most.
        workers: Decoding threads; 0 for one per processor, 32 at most.
    """

    root: Path
    backbone: Backbone
    manifest: Manifest
    batch_size: int
    workers: int = 0
    _may_decode: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def __post_init__(self) -> None:
        """Let decoding begin."""
        self._may_decode.set()

    @contextmanager
    def _forward(self) -> Iterator[None]:
        """Hold back the decoding of further images where the forward pass needs their cores."""
        if self.backbone.device.type == "cpu":
            self._may_decode.clear()
        try:
            yield
        finally:
            self._may_decode.set()

    @property
    def _threads(self) -> int:
        return self.workers or min(os.cpu_count() or 1, 32)

    def decoding(self) -> ThreadPoolExecutor:
        """Return the threads that decode."""
        return ThreadPoolExecutor(self._threads, "decode")

    def decoded(
        self, pool: ThreadPoolExecutor, images: Iterable[ImageRecord]
    ) -> Iterator[DecodedImage | Failure]:
        """Begin to decode images at once, a fixed number ahead of who takes them."""
        # Squares are small; of photos as they are, at most two for each thread are in memory.
        more = 2 * self.batch_size if self.backbone.preprocessing.one_size else self._threads
        return _ahead(pool, self._decode, iter(images), self._threads + more)

    def _decode(self, image: ImageRecord) -> DecodedImage | Failure:
        self._may_decode.wait()
        result = read(self.root, image, self.backbone)
        if isinstance(result, Failure) and self.manifest.schema_version == 1:
            return Failure(result.reason)  # version 1 did not say more
        return result

    def encode(
        self,
        chunk: Sequence[ImageRecord],
        decoded: Iterator[DecodedImage | Failure],
        on_image: Callable[[SampleRecord], None] = lambda _: None,
    ) -> ShardContent:
        """Take the images of one shard through the backbone.

        Args:
            chunk: The images.
            decoded: What `decoded` gives for them; of more, only these are taken.
            on_image: Called when an image's features are known, or it has failed.
        """
        records: list[SampleRecord] = []
        rows = Rows(self.manifest, self.backbone, len(chunk))

        def settle(known: Mapping[int, str | None]) -> None:
            for position, reason in known.items():
                if reason is not None:
                    before = records[position]
                    file = FileDigest(before.sha256 or "", before.bytes or 0)
                    records[position] = _failure(chunk[position], Failure(reason, file))
                on_image(records[position])

        def encode(batch: list[Placed]) -> None:
            with self._forward():
                known = rows.add(batch)
            settle(known)

        batches = Batches(self.batch_size, self.backbone.preprocessing.size)
        for position, image in enumerate(chunk):
            result = next(decoded)
            if isinstance(result, Failure):
                records.append(_failure(image, result))
                on_image(records[-1])
            else:
                records.append(_record(image, result))
                for batch in batches.add(Placed(position, result)):
                    encode(batch)
        for batch in batches.rest():
            encode(batch)
        settle(rows.flush())
        return rows.content(records)

    def write(self, path: Path, number: int, content: ShardContent) -> FileEntry:
        """Write a shard, durably; returns its entry.

        Raises:
            DiskSpaceError, WriteError: It could not be written.
        """
        return write_shard(
            path,
            content,
            index=number,
            fingerprint=self.manifest.fingerprint.digest,
            settings=self.manifest.settings(),
            schema_version=self.manifest.schema_version,
        )


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
    """Map in order; ``number`` results are computed or waiting, from now on."""
    futures = deque(pool.submit(function, item) for item in islice(items, number))

    def results() -> Iterator[Any]:
        while futures:
            first = futures.popleft().result()
            futures.extend(pool.submit(function, item) for item in islice(items, 1))
            yield first

    return results()

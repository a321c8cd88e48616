"""Copy a cache between folders, object stores and hubs.

    copy_cache("cache/ava", "s3://bucket/ava")

Every file is compared with ``cache.json`` while it is read, and once more after it was written, by
reading it back. ``cache.json`` itself comes last, so a copy that was stopped is no cache; the same
call goes on with it.
"""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from featcache.errors import CacheFormatError, CacheNotFoundError, ConfigError, TransferError
from featcache.maintenance.integrity import ByteCounter
from featcache.storage.durable import file_digest, make_folders
from featcache.storage.layout import HISTORY, MANIFEST, shard_number
from featcache.storage.lock import reading, writing
from featcache.storage.manifest import MAX_BYTES, Manifest
from featcache.transfer.store import Store, insist

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from featcache.storage.entries import FileEntry

CLAIM = ".copying"  # in the copy, until it is whole: of which cache it is to be one
WORKERS = 8  # files at once


@dataclass(frozen=True, kw_only=True)
class CopySummary:
    """How a copy ended.

    Attributes:
        files: Files that were copied.
        bytes: Their bytes.
        there: Files that were there and the same.
        complete: Whether ``cache.json`` was written: the copy is a cache.
    """

    files: int
    bytes: int
    there: int
    complete: bool


def read_manifest(store: Store) -> tuple[Manifest, bytes]:
    """Read and check cache.json, wherever it is.

    Raises:
        CacheNotFoundError, CacheFormatError: There is none, or it is damaged.
        TransferError: It cannot be read.
    """
    path = Path(store.place) / MANIFEST

    def read() -> bytes | None:
        size = store.size(MANIFEST)
        if size is None:
            return None
        if size > MAX_BYTES:
            raise CacheFormatError(f"{path}: it has more than {MAX_BYTES} bytes")
        return store.read(MANIFEST)

    content = insist(f"{store.place}: {MANIFEST} cannot be read", read)
    if content is None:
        raise CacheNotFoundError(f"{store.place}: no cache here ({MANIFEST} is missing)")
    return Manifest.from_bytes(content, path), content


def copy_cache(
    source: str | Path,
    target: str | Path,
    *,
    shards: range | None = None,
    workers: int = WORKERS,
    on_bytes: Callable[[int, int], None] = lambda *_: None,
) -> CopySummary:
    """Copy a finished cache.

    Args:
        source: A folder or an address.
        target: A folder or an address; what is there of an earlier copy is kept, where it is
            intact.
        shards: Numbers of the shards to copy; then these alone, and no ``cache.json``: machines
            may share a copy, and one call without this finishes it. None for the whole cache.
        workers: Files at once.
        on_bytes: Called with the bytes that are done, and all of them. Each byte counts twice:
            once for the copy, once for reading it back.

    Raises:
        CacheNotFoundError, CacheFormatError: There is no finished cache, or ``cache.json`` is
            damaged.
        TransferError: A file of the source is damaged, or a file could not be copied.
        ConfigError: The target holds another cache.
    """
    here, there = Store.at(source), Store.at(target)
    if (here.files, here.root) == (there.files, there.root):
        raise ConfigError(f"{source} and {target} are the same place")
    with ExitStack() as stack:
        if here.folder is not None and here.folder.is_dir():
            stack.enter_context(reading(here.folder))
        manifest, content = read_manifest(here)
        manifest.require_complete(Path(str(source)))
        if there.folder is not None:
            make_folders(there.folder)
            stack.enter_context(writing(there.folder))
        done = _same_cache(there, content)
        claim = _claim(there, manifest, content, done=done)
        files = _chosen(manifest, shards)
        copier = _Copier(here, there, 2 * sum(e.bytes for e in files.values()), on_bytes)
        with ThreadPoolExecutor(workers, "copy") as pool:
            futures = [pool.submit(copier.copy, name, entry) for name, entry in files.items()]
            try:
                for future in futures:
                    future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        complete = shards is None
        if complete:
            _finish(here, there, manifest, content, claim)
        return CopySummary(
            files=len(copier.copied),
            bytes=sum(entry.bytes for entry in copier.copied),
            there=len(copier.kept),
            complete=complete,
        )


def _chosen(manifest: Manifest, shards: range | None) -> dict[str, FileEntry]:
    """Return the files to copy, shards first: the largest part begins at once."""
    if shards is None:
        others = {n: e for n, e in manifest.files.items() if e.rows is None}
        return {**manifest.shards(), **others}
    chosen = {n: e for n, e in manifest.shards().items() if shard_number(n) in shards}
    if not chosen:
        last = max(map(shard_number, manifest.shards()), default=-1)
        numbers = f"{shards.start} to {shards.stop - 1}"
        raise ConfigError(f"no shard has a number from {numbers}; the last is {last}")
    return chosen


def _same_cache(there: Store, content: bytes) -> bool:
    """Tell whether the target holds this cache already.

    Raises:
        ConfigError: It holds another one.
    """

    def read() -> bytes | None:
        return there.read(MANIFEST) if there.size(MANIFEST) is not None else None

    found = insist(f"{there.place}: {MANIFEST} cannot be read", read)
    if found is not None and found != content:
        raise ConfigError(
            f"{there.place} holds another cache, or another state of this one: choose another "
            "place, or delete what is there"
        )
    return found is not None


def _claim(there: Store, manifest: Manifest, content: bytes, *, done: bool) -> bytes:
    """Say in the target which cache is being copied there, unless it is whole.

    Returns:
        What the claim has to say when the copy is finished.

    Raises:
        ConfigError: Another cache is being copied there.
    """
    digest = xxhash.xxh3_128_hexdigest(content)

    def claim() -> bytes:
        found = there.read(CLAIM) if there.size(CLAIM) is not None else None
        if found is not None:
            try:
                stated = json.loads(found)["manifest"]
            except (ValueError, KeyError, TypeError):
                stated = None
            if stated != digest:
                raise ConfigError(
                    f"{there.place}: another cache is being copied there; where that is over, "
                    f"delete {there.place}/{CLAIM}"
                )
            return found
        mine = {"manifest": digest, "name": manifest.name, "host": socket.gethostname()}
        text = json.dumps(mine, sort_keys=True).encode()
        if not done:
            there.write(CLAIM, iter([text]))
        return text

    return insist(f"{there.place} cannot be written to", claim)


def _finish(here: Store, there: Store, manifest: Manifest, content: bytes, claim: bytes) -> None:
    """Look at all files once more, then write the history and cache.json."""
    stated = json.loads(claim)["manifest"]

    def write() -> None:
        if there.size(CLAIM) is not None and json.loads(there.read(CLAIM))["manifest"] != stated:
            raise ConfigError(
                f"{there.place}: another process has begun to copy another cache there; choose "
                "another place"
            )
        for name, entry in manifest.files.items():
            if (found := there.size(name)) != entry.bytes:
                raise TransferError(f"{there.place}/{name} has {found} bytes, not {entry.bytes}")
        if here.size(HISTORY) is not None:
            there.write(HISTORY, here.pieces(HISTORY))
        there.write(MANIFEST, iter([content]))
        if there.read(MANIFEST) != content:
            there.remove(MANIFEST)
            raise TransferError(f"{there.place}/{MANIFEST} came back changed")
        there.remove(CLAIM)

    insist(f"{there.place}: the copy could not be finished", write)


class _Copier:
    """Copies single files, from several threads."""

    def __init__(
        self, here: Store, there: Store, total: int, on_bytes: Callable[[int, int], None]
    ) -> None:
        self.here, self.there = here, there
        self.counter = ByteCounter(total, on_bytes)
        self.copied: list[FileEntry] = []
        self.kept: list[FileEntry] = []

    def copy(self, name: str, entry: FileEntry) -> None:
        """Copy a file, unless it is there and the same."""
        meter = _Meter(self.counter, 2 * entry.bytes)

        def transfer() -> None:
            meter.position = 0
            self.there.write(name, self._checked(name, entry, meter))
            if (found := self._found(name, meter)) != entry.xxh3_128:
                self.there.remove(name)
                raise TransferError(f"it came back as {found}, not {entry.xxh3_128}")

        def same() -> bool:
            meter.position = 0
            size = self.there.size(name)
            return size == entry.bytes and self._found(name, meter) == entry.xxh3_128

        what = f"{self.there.place}/{name} could not be copied"
        if insist(what, same):
            self.kept.append(entry)
        else:
            insist(what, transfer)
            self.copied.append(entry)
        meter.fill()

    def _checked(self, name: str, entry: FileEntry, meter: _Meter) -> Iterator[bytes]:
        """Read a file of the source; raises where it is not what cache.json says."""
        state, size = xxhash.xxh3_128(), 0
        for piece in self.here.pieces(name):
            state.update(piece)
            size += len(piece)
            meter.add(len(piece))
            yield piece
        if (size, state.hexdigest()) != (entry.bytes, entry.xxh3_128):
            raise TransferError(
                f"{self.here.place}/{name} is not what its cache.json says ({size} bytes, digest "
                f"{state.hexdigest()}, expected {entry.bytes} and {entry.xxh3_128}); where it is "
                "damaged, `featcache repair` repairs a cache on a disk"
            )

    def _found(self, name: str, meter: _Meter) -> str:
        """Return the digest of a file of the target, from the disk and not from memory."""
        if self.there.folder is not None:
            return file_digest(self.there.folder / name, on_bytes=meter.add, from_disk=True)
        return self.there.digest(name, meter.add)


class _Meter:
    """Counts the bytes of one file once, however often it is tried."""

    def __init__(self, counter: ByteCounter, total: int) -> None:
        self.counter, self.total = counter, total
        self.position = self.told = 0

    def add(self, count: int) -> None:
        """Count bytes of this try."""
        self.position += count
        self._tell(self.position)

    def fill(self) -> None:
        """Count all that there is to count."""
        self._tell(self.total)

    def _tell(self, position: int) -> None:
        new = min(position, self.total) - self.told
        if new > 0:
            self.told += new
            self.counter.add(new)

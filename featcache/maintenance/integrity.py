"""Integrity of single files: what has to be there, and whether each is what cache.json says.

A file is compared with its size and digest in cache.json. Where they differ, or there are none
yet, the structure and the digests inside the file tell what is wrong, and in which rows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from featcache.datasets.columns import LABELS_SCHEMA
from featcache.errors import CacheFormatError, FeatcacheError
from featcache.storage.durable import file_digest
from featcache.storage.history import read_history
from featcache.storage.layout import (
    HISTORY,
    LABELS,
    MANIFEST,
    PLANNED,
    PROMPTS,
    SAMPLES,
    SHARDS,
    shard_name,
    shard_number,
    shard_numbers,
)
from featcache.storage.prompts import open_prompts
from featcache.storage.shard import mismatches, open_shard_of
from featcache.storage.tables import PLANNED_SCHEMA, SAMPLES_SCHEMA, read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from featcache.storage.entries import FileEntry
    from featcache.storage.manifest import Manifest

READERS = 4  # files read at once: enough to keep a disk busy while digests are computed


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One damaged file.

    Attributes:
        file: Its path below the cache.
        what: What is wrong with it.
        rows: The damaged rows of a shard or of the prompt file, where they can be told.
    """

    file: str
    what: str
    rows: tuple[int, ...] = ()

    def __str__(self) -> str:
        """Return one line."""
        rows = f" (rows {', '.join(map(str, self.rows))})" if self.rows else ""
        return f"{self.file}: {self.what}{rows}"


class ByteCounter:
    """Counts the bytes that several threads read, and tells how many there are so far.

    Args:
        total: Bytes to read in all.
        on_bytes: Called with the bytes read and the total, by one thread at a time.
    """

    def __init__(self, total: int, on_bytes: Callable[[int, int], None]) -> None:
        self.done = 0
        self._total = total
        self._on_bytes = on_bytes
        self._lock = Lock()

    def add(self, count: int) -> None:
        """Count some more."""
        with self._lock:
            self.done += count
            self._on_bytes(self.done, self._total)


def expected_files(path: Path, manifest: Manifest) -> dict[str, FileEntry | None]:
    """Return what has to be there, with its entry where cache.json has one."""
    if not manifest.finished:
        there = {shard_name(number): None for number in shard_numbers(path)}
        return there | dict(manifest.files)
    expected: dict[str, FileEntry | None] = {SAMPLES: None, LABELS: None}
    last = max(map(shard_number, manifest.shards()), default=-1)
    for number in range(last + 1):
        if not manifest.part or manifest.part.has(number):
            expected[shard_name(number)] = None
    return expected | dict(manifest.files)


def bytes_to_read(entries: Mapping[str, FileEntry | None], *, quick: bool = False) -> int:
    """Return how many bytes `check_files` has to read of the files that have an entry."""
    return sum(e.bytes for name, e in entries.items() if e and not _skips(name, quick))


def check_files(
    path: Path,
    manifest: Manifest,
    entries: Mapping[str, FileEntry | None],
    *,
    quick: bool = False,
    on_bytes: Callable[[int], None] | None = None,
) -> list[Damage]:
    """Compare files with their entries and with the digests inside them, a few at once."""

    def check(name: str) -> list[Damage]:
        return list(_check_file(path, manifest, name, entries[name], quick, on_bytes))

    with ThreadPoolExecutor(READERS, "verify") as pool:
        return [damage for found in pool.map(check, entries) for damage in found]


def check_history(path: Path) -> list[Damage]:
    """Name each line of the history that is not what was written."""
    return [
        Damage(file=HISTORY, what=f"line {number} is damaged") for number in read_history(path)[1]
    ]


def _check_file(
    path: Path,
    manifest: Manifest,
    name: str,
    entry: FileEntry | None,
    quick: bool,
    on_bytes: Callable[[int], None] | None,
) -> Iterator[Damage]:
    """Compare a file with its entry, and where it differs with the digests inside it."""
    file = path / name
    if not file.is_file():
        yield Damage(file=name, what="missing")
        return
    if manifest.finished and entry is None:
        yield Damage(file=name, what=f"{MANIFEST} does not describe it")
    problems = []
    size = file.stat().st_size
    if entry and size != entry.bytes:
        problems.append(f"{size} bytes, expected {entry.bytes}")
    elif entry and not _skips(name, quick):
        found = file_digest(file, on_bytes=on_bytes, from_disk=True)
        if found != entry.xxh3_128:
            problems.append(f"digest {found}, expected {entry.xxh3_128}")
    inside, rows = _check_inside(path, manifest, name, entry, read=bool(problems) or not entry)
    problems += inside
    if problems:
        yield Damage(file=name, what="; ".join(problems), rows=tuple(rows))


def _check_inside(
    path: Path, manifest: Manifest, name: str, entry: FileEntry | None, *, read: bool
) -> tuple[list[str], list[int]]:
    """Check a file's structure and, with ``read``, its own digests: (problems, damaged rows)."""
    try:
        if name == SAMPLES:
            read_table(path / name, SAMPLES_SCHEMA)
        elif name == LABELS:
            read_table(path / name, LABELS_SCHEMA)
        elif name == PLANNED:
            read_table(path / name, PLANNED_SCHEMA)
        elif name == PROMPTS:
            prompts = open_prompts(path, shapes=manifest.shapes, fingerprint=manifest.fingerprint)
            if read and (rows := prompts.damaged()):
                return ["damaged prompts"], rows
        else:
            return _check_shard(path, manifest, name, entry, read=read)
    except FeatcacheError as error:
        return [str(error)], []
    return [], []


def _check_shard(
    path: Path, manifest: Manifest, name: str, entry: FileEntry | None, *, read: bool
) -> tuple[list[str], list[int]]:
    """Check that a shard is the one that its name says, and with ``read`` each of its rows."""
    shard = open_shard_of(path, manifest, name)
    problems = mismatches(shard, manifest, name, entry)
    rows: list[int] = []
    if read:
        rows = shard.damaged_rows()
        problems += ["damaged rows"] if rows else []
        try:
            shard.records()
        except CacheFormatError:
            problems.append("damaged records")
        if entry and not problems:
            problems.append("rows and records are intact, bytes around them are not")
    return problems, rows


def _skips(name: str, quick: bool) -> bool:
    """Whether a file's bytes are left unread."""
    return quick and name.startswith(f"{SHARDS}/")

"""Verify: read everything, name what is damaged.

    report = verify_cache("cache/ava")
    report.ok, report.damages

cache.json holds a digest of every other file and one of itself. Where a file's digest differs,
the digests inside the file name the rows. `quick` compares sizes, fingerprints and tables only;
`root` looks for images that changed since the extraction.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from featcache.datasets import open_dataset
from featcache.datasets.base import safe_relative
from featcache.durable import file_digest, is_temporary
from featcache.errors import CacheFormatError, DatasetError, FeatcacheError
from featcache.history import read_history
from featcache.layout import HISTORY, LABELS, LOCK, MANIFEST, PROMPTS, SAMPLES, SHARDS, shard_name
from featcache.lock import reading
from featcache.manifest import FileEntry, Manifest
from featcache.prompts import open_prompts
from featcache.recovery import recover_manifest, shard_numbers
from featcache.shard import open_shard_of
from featcache.tables import LABELS_SCHEMA, SAMPLES_SCHEMA, read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from featcache.datasets.base import Dataset

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


@dataclass(frozen=True, kw_only=True)
class VerifyProgress:
    """Bytes read so far, and bytes to read in all."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What `verify_cache` found.

    Attributes:
        path: The cache.
        finished: Whether the cache, or the part, is finished; else only its shards were checked.
        quick: Whether the contents of shards were left unread.
        files: Number of files checked.
        bytes: Bytes read.
        seconds: Wall time.
        damages: What is damaged or missing.
        extra: Files that do not belong to the cache.
        changed: Images that changed since the extraction.
        missing: Images that are not there any more.
        new: Images of the data set that the cache does not know.
    """

    path: str
    finished: bool
    quick: bool
    files: int
    bytes: int
    seconds: float
    damages: tuple[Damage, ...] = ()
    extra: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing is damaged, and no image has changed or gone."""
        return not (self.damages or self.changed or self.missing)

    def lines(self) -> list[str]:
        """Return the report as lines of plain text."""
        out = [f"damaged: {damage}" for damage in self.damages]
        out += [f"image changed since the extraction: {path}" for path in self.changed]
        out += [f"image missing: {path}" for path in self.missing]
        out += [f"image not in the cache: {path}" for path in self.new]
        out += [f"not a file of the cache: {name}" for name in self.extra]
        if not self.finished:
            out.append("the extraction has not finished; only its shards were checked")
        return out


def verify_cache(
    path: str | Path,
    quick: bool = False,
    root: str | Path | None = None,
    on_progress: Callable[[VerifyProgress], None] | None = None,
    *,
    dataset: Dataset | None = None,
) -> VerifyReport:
    """Check a cache, finished or not; it is only read.

    Args:
        path: The cache's folder.
        quick: Compare sizes, fingerprints, structure and tables, but leave the features unread.
        root: The data set's folder: compare the images by size and, unless quick, by SHA-256.
        on_progress: Called while bytes are read, from several threads, one at a time.
        dataset: The data set, where it is not one of `featcache.datasets`; its root is compared.

    Raises:
        CacheNotFoundError: There is no cache.
        CacheLockedError: A process is writing to it.
    """
    path = Path(path)
    started = time.monotonic()
    damages: list[Damage] = []
    with reading(path):
        try:
            manifest = Manifest.read(path)
        except CacheFormatError as error:
            damages.append(Damage(file=MANIFEST, what=str(error)))
            manifest = recover_manifest(path)
        entries = expected_files(path, manifest)
        samples = _samples(path) if root or dataset else None
        images = [row for row in samples or () if row["status"] == "ok"]
        to_read = sum(e.bytes for name, e in entries.items() if e and not _skips(name, quick))
        to_read += 0 if quick else sum(row["bytes"] for row in images)
        counter = _Counter(to_read, on_progress)
        damages += check_files(path, manifest, entries, quick=quick, on_bytes=counter.add)
        damages += [
            Damage(file=HISTORY, what=f"line {number} is damaged")
            for number in read_history(path)[1]
        ]
        changed: list[str] = []
        missing: list[str] = []
        new: list[str] = []
        if samples is not None:
            dataset = dataset or open_dataset(
                manifest.dataset["name"], Path(root or ""), **manifest.dataset["options"]
            )
            changed, missing = _check_images(dataset.root, images, quick, counter)
            there = {row["sample_id"] for row in samples}
            new = [i.path for i in dataset.images() if i.sample_id not in there]
        extra = [name for name in _walk(path) if name not in {*entries, *_OWN}]
    return VerifyReport(
        path=str(path),
        finished=bool(manifest.files),
        quick=quick,
        files=len(entries),
        bytes=counter.done,
        seconds=time.monotonic() - started,
        damages=tuple(damages),
        extra=tuple(extra),
        changed=tuple(changed),
        missing=tuple(missing),
        new=tuple(new),
    )


_OWN = (MANIFEST, HISTORY, LOCK)


def expected_files(path: Path, manifest: Manifest) -> dict[str, FileEntry | None]:
    """Return what has to be there, with its entry where cache.json has one."""
    if not manifest.files:
        return {shard_name(number): None for number in shard_numbers(path)}
    expected: dict[str, FileEntry | None] = {SAMPLES: None, LABELS: None}
    last = max((int(Path(name).stem) for name in manifest.shards()), default=-1)
    for number in range(last + 1):
        if not manifest.part or manifest.part.has(number):
            expected[shard_name(number)] = None
    return expected | dict(manifest.files)


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
    if manifest.files and entry is None:
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
    problems, rows = [], []
    if shard.fingerprint != manifest.fingerprint.digest:
        problems.append(
            f"features {shard.fingerprint}, expected {manifest.fingerprint.digest}: "
            "it belongs to another cache"
        )
    if shard_name(shard.index) != name:
        problems.append(f"it is shard {shard.index}: swapped or copied")
    if entry and shard.num_rows != entry.rows:
        problems.append(f"{shard.num_rows} rows, expected {entry.rows}")
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


def _check_images(
    root: Path, images: list[dict[str, Any]], quick: bool, counter: _Counter
) -> tuple[list[str], list[str]]:
    """Compare images with what they were: (changed, missing)."""

    def check(row: dict[str, Any]) -> str:
        try:
            file = safe_relative(root, row["path"])
            size = file.stat().st_size
        except (DatasetError, OSError):
            return "missing"
        if size != row["bytes"]:
            return "changed"
        if quick:
            return "same"
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        counter.add(size)
        return "same" if found == row["sha256"] else "changed"

    with ThreadPoolExecutor(READERS, "images") as pool:
        states = list(pool.map(check, images))
    paths = [row["path"] for row in images]
    return (
        [path for path, state in zip(paths, states, strict=True) if state == "changed"],
        [path for path, state in zip(paths, states, strict=True) if state == "missing"],
    )


def _samples(path: Path) -> list[dict[str, Any]] | None:
    """Read the samples table where it can be read; what is wrong with it is told elsewhere."""
    try:
        rows: list[dict[str, Any]] = read_table(path / SAMPLES, SAMPLES_SCHEMA).to_pylist()
    except CacheFormatError:
        return None
    return rows


def _skips(name: str, quick: bool) -> bool:
    """Whether a file's bytes are left unread."""
    return quick and name.startswith(f"{SHARDS}/")


def _walk(path: Path) -> Iterator[str]:
    """Yield all files below a folder, hidden ones too, sorted."""
    for file in sorted(path.rglob("*")):
        if not file.is_dir() or file.is_symlink():
            name = file.relative_to(path).as_posix()
            yield (
                f"{name} (of a killed writer; the next one removes it)"
                if is_temporary(file)
                else name
            )


class _Counter:
    """Bytes read by several threads."""

    def __init__(self, total: int, on_progress: Callable[[VerifyProgress], None] | None) -> None:
        self.total = total
        self.on_progress = on_progress
        self.done = 0
        self._lock = Lock()

    def add(self, count: int) -> None:
        """Count bytes and tell the caller."""
        with self._lock:
            self.done += count
            if self.on_progress:
                self.on_progress(VerifyProgress(done=self.done, total=self.total))

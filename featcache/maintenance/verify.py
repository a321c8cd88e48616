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
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from featcache.datasets import open_dataset
from featcache.datasets.base import safe_relative
from featcache.errors import CacheFormatError, DatasetError
from featcache.maintenance.integrity import (
    READERS,
    ByteCounter,
    Damage,
    bytes_to_read,
    check_files,
    check_history,
    expected_files,
)
from featcache.maintenance.recovery import old_table, recover_manifest
from featcache.storage.durable import is_temporary
from featcache.storage.layout import HELD, HISTORY, LOCK, MAKERS, MANIFEST, PLANNED, is_shard
from featcache.storage.lock import reading
from featcache.storage.manifest import Manifest
from featcache.storage.tables import ok_samples, without_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from featcache.datasets.base import Dataset

_OWN = (MANIFEST, HISTORY, LOCK, HELD, MAKERS)  # files that no entry describes
BLOCK = 4096  # images that are waiting to be read


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
        # What is wrong with the table is told with the other files.
        table = old_table(path) if root or dataset else None
        images = None if table is None else ok_samples(table)
        to_read = bytes_to_read(entries, quick=quick)
        to_read += 0 if quick or images is None else pc.sum(images["bytes"]).as_py() or 0

        def tell(done: int, total: int) -> None:
            if on_progress:
                on_progress(VerifyProgress(done=done, total=total))

        counter = ByteCounter(to_read, tell)
        damages += check_files(path, manifest, entries, quick=quick, on_bytes=counter.add)
        damages += check_history(path)
        changed: list[str] = []
        missing: list[str] = []
        new: list[str] = []
        if table is not None and images is not None:
            dataset = dataset or open_dataset(
                manifest.dataset["name"], Path(root or ""), **manifest.dataset["options"]
            )
            changed, missing = _check_images(dataset.root, images, quick, counter)
            listed, known_ids = dataset.images_table(), without_gone(table)["sample_id"]
            unknown = pc.invert(pc.is_in(listed["sample_id"], value_set=known_ids))
            new = list(map(str, listed["path"].filter(unknown)))
        known = {*entries, *_OWN, *([PLANNED] if manifest.part and not manifest.finished else [])}
        extra = [_explained(name) for name in _walk(path) if name not in known]
    return VerifyReport(
        path=str(path),
        finished=manifest.finished,
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


def _check_images(
    root: Path, images: pa.Table, quick: bool, counter: ByteCounter
) -> tuple[list[str], list[str]]:
    """Compare images with what they were: (changed, missing)."""

    def check(image: Mapping[str, Any]) -> str:
        try:
            file = safe_relative(root, image["path"])
            size = file.stat().st_size
        except (DatasetError, OSError):
            return "missing"
        if size != image["bytes"]:
            return "changed"
        if quick:
            return "same"
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        counter.add(size)
        return "same" if found == image["sha256"] else "changed"

    found: dict[str, list[str]] = {"same": [], "changed": [], "missing": []}
    with ThreadPoolExecutor(READERS, "images") as pool:
        columns = images.select(["path", "bytes", "sha256"])
        for batch in columns.to_batches(max_chunksize=BLOCK):
            rows = batch.to_pylist()
            for image, state in zip(rows, pool.map(check, rows), strict=True):
                found[state] += [image["path"]] if state != "same" else []
    return found["changed"], found["missing"]


def _explained(name: str) -> str:
    """Say of a shard that cache.json does not name where it comes from."""
    if is_shard(name):
        return f"{name} (of an extraction that was stopped; the same command goes on from it)"
    return name


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

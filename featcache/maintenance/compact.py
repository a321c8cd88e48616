"""Compact: give back the disk that features of images take that are gone.

    compact_cache("cache/photos")

A shard that holds such features is written anew without them, atomically, one shard after the
other. In its records their lines stay, emptied, so that every other image keeps its place, and the
rows that readers see are the same ones in the same order. While it runs, and after a crash until
the same command has ended, cache.json says that the cache is not finished; every shard is whole at
any time, the old one or the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from featcache.errors import CacheFormatError, CacheNotFoundError
from featcache.extraction.finish import complete, described, read_samples
from featcache.extraction.work import stored_shards
from featcache.storage.durable import remove_temporaries
from featcache.storage.history import append_history
from featcache.storage.layout import SAMPLES, SCHEMA_VERSION, SHARDS, shard_name, shard_number
from featcache.storage.lock import writing
from featcache.storage.manifest import Manifest
from featcache.storage.records import SampleRecord
from featcache.storage.shard import FEATURES, ShardContent, mismatches, open_shard_of, write_shard
from featcache.storage.tables import GONE, write_table

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from featcache.storage.entries import FileEntry

FORGOTTEN = SampleRecord(sample_id="", path="", status=GONE)


@dataclass(frozen=True, kw_only=True)
class CompactSummary:
    """How it ended.

    Attributes:
        path: The cache.
        rows: Rows that were left out.
        shards: Shards that were written anew.
        freed: Bytes that they take less.
    """

    path: str
    rows: int
    shards: int
    freed: int


def compact_cache(
    path: str | Path, *, on_progress: Callable[[int, int], None] | None = None
) -> CompactSummary:
    """Leave out the features of images that are gone; what readers see stays the same.

    Args:
        path: A finished cache, or a finished part of one.
        on_progress: Called with the number of shards written and in all.

    Raises:
        CacheNotFoundError: There is no cache, or its extraction has not finished.
        CacheLockedError: Another process uses it.
        CacheFormatError: A shard is damaged. Nothing is lost, and `repair` repairs it.
    """
    path = Path(path)
    Manifest.read(path)  # where there is no cache, no lock is made
    with writing(path):
        manifest = Manifest.read(path).current()
        if not manifest.files:
            raise CacheNotFoundError(
                f"{path}: the extraction has not finished; run the same `featcache extract` again"
            )
        remove_temporaries(path)
        remove_temporaries(path / SHARDS)
        entries = _entries(path, manifest)
        samples = read_samples(path, manifest, list(entries))
        left_out = _gone_rows(samples)
        summary = CompactSummary(path=str(path), rows=len(left_out), shards=0, freed=0)
        if len(left_out) or not manifest.finished:
            shards = np.unique(left_out[:, 0]).tolist()
            before = sum(entry.bytes for entry in entries.values())
            stay = {shard_name(n): entry for n, entry in entries.items() if n not in shards}
            manifest = manifest.with_shards(stay)
            manifest.write(path)
            for done, number in enumerate(shards, 1):
                rows = left_out[left_out[:, 0] == number, 1]
                entries[number] = _rewrite(path, manifest, number, rows)
                if on_progress:
                    on_progress(done, len(shards))
            samples = read_samples(path, manifest, list(entries))
            write_table(path / SAMPLES, samples)
            complete(path, manifest, described(entries, samples))
            freed = before - sum(entry.bytes for entry in entries.values())
            summary = CompactSummary(
                path=str(path), rows=len(left_out), shards=len(shards), freed=freed
            )
            append_history(path, manifest, "compact", summary)
    return summary


def _entries(path: Path, manifest: Manifest) -> dict[int, FileEntry]:
    """Return the entries of all shards; those of a killed run are compared with their digests."""
    if manifest.finished:
        return {shard_number(name): entry for name, entry in manifest.shards().items()}
    return stored_shards(path, manifest)


def _gone_rows(samples: pa.Table) -> Any:
    """Return shard and row of images that are gone and have features: int64 [n, 2]."""
    gone = samples.filter((pc.field("status") == GONE) & pc.field("row").is_valid())
    return np.stack([np.asarray(gone[name], np.int64) for name in ("shard", "row")], axis=1)


def _rewrite(path: Path, manifest: Manifest, number: int, left_out: Any) -> FileEntry:
    """Write a shard anew without some of its rows."""
    name = shard_name(number)
    shard = open_shard_of(path, manifest, name)
    if problems := mismatches(shard, manifest, name, manifest.files.get(name)):
        raise CacheFormatError(f"{shard.path}: {'; '.join(problems)}; run `featcache repair`")
    if rows := shard.damaged_rows():  # or they would get new digests
        raise CacheFormatError(f"{shard.path}: damaged rows {rows}; run `featcache repair {path}`")
    keep = np.setdiff1d(np.arange(shard.num_rows), left_out)
    forgotten, row = set(left_out.tolist()), 0
    records = []
    for record in shard.records():
        records.append(FORGOTTEN if record.ok and row in forgotten else record)
        row += record.ok
    arrays: dict[str, Any] = {n: shard.map(n)[keep] for n in FEATURES if n in shard.regions}
    old = shard.schema_version < SCHEMA_VERSION
    return write_shard(
        shard.path,
        ShardContent(records=records, changes=shard.changes(), **arrays),
        index=number,
        fingerprint=shard.fingerprint,
        settings=manifest.settings() if old else shard.settings(),
    )

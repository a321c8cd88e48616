"""How far an extraction is: what the shards of an unfinished cache, or of a part, hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from featcache.errors import CacheFormatError
from featcache.storage.layout import shard_name, shard_numbers
from featcache.storage.shard import mismatches, open_shard_of
from featcache.storage.tables import records_of, samples_table, without_gone

if TYPE_CHECKING:
    from pathlib import Path

    from featcache.storage.changes import Change
    from featcache.storage.manifest import Manifest
    from featcache.storage.records import SampleRecord


@dataclass(frozen=True, kw_only=True)
class SoFar:
    """What is on the disk.

    Attributes:
        shards: Number of shards.
        bytes: Their size.
        images: Images with features.
        failures: Images without, in the order of the data set.
    """

    shards: int
    bytes: int
    images: int
    failures: tuple[SampleRecord, ...]


def read_so_far(folder: Path, manifest: Manifest) -> SoFar:
    """Read the records of the shards; those that are damaged are left out, as they are made again.

    A writer may be at work: shards come whole or not at all.
    """
    size = 0
    told: dict[int, list[SampleRecord]] = {}
    changes: list[Change] = []
    for number in shard_numbers(folder):
        name = shard_name(number)
        try:
            shard = open_shard_of(folder, manifest, name)
            if mismatches(shard, manifest, name, manifest.files.get(name)):
                continue
            told[number] = shard.records()
            changes += shard.changes()
        except CacheFormatError:
            continue
        size += shard.path.stat().st_size
    there = without_gone(samples_table(told.items(), changes))
    failed = records_of(there.filter(pc.field("status") == "failed"))
    return SoFar(
        shards=len(told),
        bytes=size,
        images=there.num_rows - len(failed),
        failures=tuple(failed),
    )

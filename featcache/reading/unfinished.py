"""How far an extraction is: what the shards of an unfinished cache, or of a part, hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from featcache.errors import CacheFormatError
from featcache.storage.layout import shard_name, shard_numbers
from featcache.storage.shard import mismatches, open_shard_of

if TYPE_CHECKING:
    from pathlib import Path

    from featcache.storage.manifest import Manifest
    from featcache.storage.shard import SampleRecord


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
    shards = size = images = 0
    failures: list[SampleRecord] = []
    for number in shard_numbers(folder):
        name = shard_name(number)
        try:
            shard = open_shard_of(folder, manifest, name)
            records = shard.records()
        except CacheFormatError:
            continue
        if mismatches(shard, manifest, name, manifest.files.get(name)):
            continue
        shards += 1
        size += shard.path.stat().st_size
        images += shard.num_rows
        failures += [record for record in records if not record.ok]
    return SoFar(shards=shards, bytes=size, images=images, failures=tuple(failures))

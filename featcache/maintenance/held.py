"""What each shard of a damaged cache held, and what it said of other shards.

The samples table has a row for each image line of each shard, as things are now: with it a shard
that is lost altogether can be made again. Without it the shards themselves tell, as far as they
can be read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from featcache.datasets.records import ImageRecord
from featcache.errors import CacheFormatError
from featcache.storage.changes import Change
from featcache.storage.layout import shard_name
from featcache.storage.records import SampleRecord
from featcache.storage.shard import mismatches, open_shard_of
from featcache.storage.tables import GONE, records_of, samples_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from featcache.maintenance.recovery import Source


class Told(NamedTuple):
    """What a shard says that can be read: of its own images, and of earlier shards'."""

    records: list[SampleRecord]
    changes: list[Change]


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the shards held.

    Attributes:
        lines: The images of each shard, in order, as they are now: with their last names, and
            with the status `GONE` where they are gone.
        changes: What each shard says of images in others.
    """

    lines: Mapping[int, Sequence[SampleRecord]]
    changes: Mapping[int, Sequence[Change]]

    def images(self, shard: int) -> list[ImageRecord]:
        """Return the images of a shard that is made again.

        One that is gone gets no path: it is recorded as a failure, so that the others keep their
        places in the shard.
        """
        return [
            ImageRecord(line.sample_id, "" if line.status == GONE else line.path)
            for line in self.lines[shard]
        ]


def what_shards_held(
    folder: Path, source: Source, shards: Sequence[int], table: pa.Table | None
) -> Held:
    """Say what the shards of a cache held.

    Args:
        folder: The cache.
        source: The data set, loaded only where nothing else knows.
        shards: Their numbers, in order; a part has only some.
        table: The samples table, where it is readable.

    Raises:
        CacheFormatError: Of a shard nothing is known.
        DatasetError: The data set is needed, and was not given.
    """
    newer: dict[int, list[SampleRecord]] = {}
    told = {n: facts for n in shards if (facts := _told(folder, source, n))}
    if table is None:
        lines = _by_shard(_replayed({n: facts.records for n, facts in told.items()}, told), told)
        for number in [n for n in shards if n not in told]:
            lines[number] = _planned(source, number, lines)
    else:
        size = source.manifest.shard_size
        lines = _by_shard(table, shards, size)
        # Shards that the table does not know of: of a run that was killed.
        newer = {n: facts.records for n, facts in told.items() if facts.records and n not in lines}
        lines |= newer
    lines = {n: lines.get(n, []) for n in shards}
    changes: dict[int, Sequence[Change]] = {n: facts.changes for n, facts in told.items()}
    lost = [n for n in shards if n not in told]
    if not newer and (found := _lost_changes(lines, told)):
        # Where no shard is known to be lost, one is that held no image, only what it said.
        changes[lost[-1] if lost else max(lines, default=-1) + 1] = found
    return Held(lines={**{n: [] for n in changes}, **lines}, changes=changes)


def _told(folder: Path, source: Source, number: int) -> Told | None:
    """Read what a shard says; None where that is damaged, or where it is another shard."""
    name = shard_name(number)
    try:
        shard = open_shard_of(folder, source.manifest, name)
        if mismatches(shard, source.manifest, name, None):
            return None
        return Told(shard.records(), shard.changes())
    except CacheFormatError:
        return None


def _by_shard(
    table: pa.Table, shards: Sequence[int] | Mapping[int, Any], size: int = 0
) -> dict[int, list[SampleRecord]]:
    """Return the lines of a samples table by shard.

    In version 1 the shard of a failed image is null; then shards hold ``size`` images each.
    """
    records = records_of(table)
    if table["shard"].null_count:
        chunks = (records[n : n + size] for n in range(0, len(records), size))
        return dict(zip(shards, chunks, strict=False))
    numbers, starts = np.unique(np.asarray(table["shard"], np.int64), return_index=True)
    ends = [*starts[1:].tolist(), len(records)]
    return {
        number: records[start:end]
        for number, start, end in zip(numbers.tolist(), starts.tolist(), ends, strict=True)
    }


def _replayed(records: Mapping[int, Sequence[SampleRecord]], told: Mapping[int, Told]) -> pa.Table:
    """Return the samples table that records and the readable changes give."""
    changes = [change for number in sorted(told) for change in told[number].changes]
    return samples_table([(n, records[n]) for n in sorted(records)], changes)


def _planned(
    source: Source, number: int, lines: Mapping[int, Sequence[SampleRecord]]
) -> list[SampleRecord]:
    """Return the images that a first extraction puts into a shard, where they are in no other."""
    name, size = shard_name(number), source.manifest.shard_size
    images = source.dataset(f"{name} is damaged").images()[number * size : (number + 1) * size]
    elsewhere = {record.sample_id for records in lines.values() for record in records}
    if not images or any(image.sample_id in elsewhere for image in images):
        raise CacheFormatError(
            f"{name} is lost together with samples.parquet, and the data set has changed: nothing "
            "tells which images it held. Extract into a new folder"
        )
    return [SampleRecord(sample_id=i.sample_id, path=i.path, status="planned") for i in images]


def _lost_changes(
    lines: Mapping[int, Sequence[SampleRecord]], told: Mapping[int, Told]
) -> list[Change]:
    """Say what lost shards have said of others: where things are not as the rest tells.

    The last word about an image counts. Where it is missing, the shard that said it is lost, so
    that it may stand in any of the lost shards.
    """
    records = {
        n: told[n].records if n in told else [_there(line) for line in lines[n]] for n in lines
    }
    without = _replayed(records, told).select(["sample_id", "path", "status"]).to_pylist()
    places = [(n, image) for n in sorted(lines) for image in range(len(records[n]))]
    changes = []
    for (number, image), row in zip(places, without, strict=True):
        now = lines[number][image]
        names = {} if now.status == GONE else {"sample_id": now.sample_id, "path": now.path}
        told_names = {} if row["status"] == GONE else {n: row[n] for n in ("sample_id", "path")}
        if names != told_names:
            changes.append(Change(shard=number, image=image, **names))
    return changes


def _there(line: SampleRecord) -> SampleRecord:
    """Return a line as if its image were there."""
    return replace(line, status="failed") if line.status == GONE else line

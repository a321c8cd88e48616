"""What an extraction has still to do in its folder.

A first extraction goes on where an earlier run stopped: shards that are planned and there are
kept, damaged ones are made again. When a cache is finished, or its data set has changed before it
was, the cache follows the data set (``growth.py``): the shards stay, and new ones are added. Shards
that a killed run has added are like all others, so the next run goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from featcache.datasets.columns import images_of, joined
from featcache.errors import CacheFormatError, DatasetError, FingerprintMismatchError
from featcache.extraction.finish import read_changes, read_samples
from featcache.extraction.growth import Growth, digest_images, plan_growth
from featcache.extraction.parts import images_of_part, read_planned
from featcache.extraction.plan import split_chunks
from featcache.storage.durable import file_digest
from featcache.storage.entries import FileEntry
from featcache.storage.layout import SAMPLES, shard_name, shard_number, shard_numbers
from featcache.storage.shard import mismatches, open_shard_of
from featcache.storage.tables import SAMPLES_SCHEMA, read_table, without_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from featcache.datasets.base import ImageRecord
    from featcache.storage.changes import Change
    from featcache.storage.manifest import Manifest
    from featcache.storage.shard import ShardIndex


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is there, and what is to be made.

    Attributes:
        kept: Entries of the shards that stay, by number.
        samples: The samples table that these give.
        chunks: The images of each shard to make, by its number.
        changes: What the first of them says of images in shards that stay.
        growth: How the data set differs from the shards that stay.
        first: Whether this is, or goes on with, the first extraction of the cache.
    """

    kept: Mapping[int, FileEntry]
    samples: pa.Table
    chunks: Mapping[int, Sequence[ImageRecord]]
    growth: Growth
    changes: Mapping[int, Sequence[Change]] = field(default_factory=dict)
    first: bool = False


def remaining_work(
    out: Path,
    manifest: Manifest,
    root: Path,
    images: Sequence[ImageRecord],
    listed: Sequence[str] = (),
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Work:
    """Compare a cache's folder with its data set; nothing is written.

    Args:
        out: The cache's folder.
        manifest: What the cache is.
        root: The data set's folder.
        images: The images to have features of.
        listed: Ids of further images of the data set, which are not gone.
        on_progress: Called with the numbers of images that were compared and are to be, where
            that is done.

    Raises:
        FingerprintMismatchError: A shard belongs to another cache.
        DatasetError: A part of version 1 is not of the data set as it is now.
        CacheFormatError: Shards of a finished cache are lost, and its data set has changed.
    """
    kept = stored_shards(out, manifest)
    samples = _samples(out, manifest, list(kept))
    lost = {shard_number(name) for name in manifest.shards()} - kept.keys()
    planned = read_planned(out) if manifest.part else None
    ours = images if planned is None else images_of_part(images, planned, manifest)
    again = planned is None or planned.equals(images_of(images)["sample_id"])
    if not manifest.finished or lost or (manifest.part and planned is None):
        chunks = split_chunks(images, manifest.shard_size, manifest.part)
        again = again and not any(True for _ in read_changes(out, manifest, kept))
        if again and (short := _beginnings(samples, list(kept), chunks)) is not None:
            # Where no image at all was readable, they are tried again: nothing is lost by it.
            short |= {n for n, entry in kept.items() if not entry.rows}
            missing = {n: chunk for n, chunk in chunks.items() if n not in kept or n in short}
            new = joined(missing.values())
            if short:
                kept = {n: entry for n, entry in kept.items() if n not in short}
                samples = read_samples(out, manifest, list(kept))
            return Work(
                kept=kept,
                samples=samples,
                chunks=missing,
                growth=Growth(images=new, new=len(new)),
                first=True,
            )
    if manifest.part and planned is None:
        raise DatasetError(
            f"{out}: the data set has changed, and this part was made by an older version, which "
            "did not record the images of the other parts: merge the parts first, then extract "
            "into the merged cache"
        )
    if lost and manifest.finished:
        raise CacheFormatError(
            f"{out}: {', '.join(map(shard_name, sorted(lost)))} lost or damaged, and the data set "
            f"has changed since the extraction; run `featcache repair {out} --root {root}` first"
        )
    growth = plan_growth(samples, ours, digest_images(root, ours, on_progress), listed)
    return _growing(manifest, kept, samples, growth)


def _growing(
    manifest: Manifest, kept: Mapping[int, FileEntry], samples: pa.Table, growth: Growth
) -> Work:
    """Put the images of a growth into shards behind those that are there."""
    part, size = manifest.part, manifest.shard_size
    planned = -(-part.images // size) if part else 0
    end = max(planned, max(kept, default=-1) + 1)
    # Shards of an extraction that has not finished: lost, damaged, or not made yet. They stay
    # empty, and what they held, or should hold, comes behind them.
    chunks: dict[int, Sequence[ImageRecord]] = {
        n: () for n in range(end) if n not in kept and (not part or part.has(n))
    }
    pieces = [growth.images[n : n + size] for n in range(0, len(growth.images), size)]
    if growth.changes and not pieces:
        pieces = [()]
    numbers = (number for number in count(end) if not part or part.has(number))
    added = dict(zip(numbers, pieces, strict=False))
    changes = {min(added): growth.changes} if growth.changes else {}
    return Work(
        kept=kept, samples=samples, chunks={**chunks, **added}, growth=growth, changes=changes
    )


def _samples(out: Path, manifest: Manifest, shards: Sequence[int]) -> pa.Table:
    """Return the samples table of some shards; the one that is there where it is of these."""
    entry = manifest.files.get(SAMPLES)
    names = list(map(shard_name, shards))
    file = out / SAMPLES
    same = entry and names == list(manifest.shards()) and file.is_file()
    if same and entry and file_digest(file) == entry.xxh3_128:
        table = read_table(file, SAMPLES_SCHEMA)
        if not table["shard"].null_count:  # as in version 1, for images that failed
            return table
    return read_samples(out, manifest, shards)


def stored_shards(out: Path, manifest: Manifest) -> dict[int, FileEntry]:
    """Return the entries of the shards that earlier runs have finished, in their order.

    Shards that cache.json does not describe yet are compared with their own digests, so that
    what is described has been read and is intact. Damaged ones are left out.

    Raises:
        FingerprintMismatchError: A shard belongs to another cache, or is a copy of another one.
    """
    found = {}
    for number in shard_numbers(out):
        entry = manifest.files.get(shard_name(number))
        try:
            shard = _open_shard(out, manifest, number)
            shard.changes()
            if entry is None:
                shard.records()
                if shard.damaged_rows():
                    continue
                entry = FileEntry.of(shard.path, shard.num_rows)
        except CacheFormatError:
            continue  # made again, like one that was never written
        found[number] = entry
    return found


def _beginnings(
    samples: pa.Table, shards: Sequence[int], chunks: Mapping[int, Sequence[ImageRecord]]
) -> set[int] | None:
    """Compare shards with the plan of a first extraction.

    Args:
        samples: What the shards hold.
        shards: Their numbers, in order.
        chunks: The images of each shard, as they are planned now.

    Returns:
        The last shard, where it holds only the beginning of what is planned for it: the data set,
        or ``limit``, has grown. None where the shards hold anything else than is planned.
    """
    numbers = np.asarray(samples["shard"], np.int64)
    short = set()
    for number in shards:
        planned = chunks.get(number, ())
        start, end = np.searchsorted(numbers, [number, number + 1]).tolist()
        lines = samples.slice(start, end - start)
        there = images_of(planned[: len(lines)])
        named = all(lines[name].equals(there[name]) for name in ("sample_id", "path"))
        if not named or without_gone(lines).num_rows < len(lines):
            return None
        if len(lines) < len(planned):
            short.add(number)
    return short if short <= set(shards[-1:]) else None


def _open_shard(out: Path, manifest: Manifest, number: int) -> ShardIndex:
    """Open a shard of this cache; raises where it belongs to another."""
    name = shard_name(number)
    shard = open_shard_of(out, manifest, name)
    if found := mismatches(shard, manifest, name, manifest.files.get(name)):
        raise FingerprintMismatchError(
            f"{shard.path}: {'; '.join(found)}; remove it, and the same command makes it again, "
            "or extract into a new folder"
        )
    return shard

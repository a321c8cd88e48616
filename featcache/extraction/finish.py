"""The last step of every writer: tables from the shards, prompts, and the digests of all files.

The shards are the truth; samples.parquet is made from their records. cache.json is written last,
so a cache that says it is complete is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from featcache.extraction.backbone import load_backbone_of
from featcache.extraction.prompts import add_prompts
from featcache.storage.entries import FileEntry
from featcache.storage.layout import LABELS, PLANNED, PROMPTS, SAMPLES, shard_name
from featcache.storage.shard import open_shard_of
from featcache.storage.tables import (
    ok_samples,
    queries_of,
    samples_table,
    with_measured,
    without_gone,
    write_table,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from featcache.backbone import Backbone
    from featcache.storage.changes import Change
    from featcache.storage.manifest import Manifest
    from featcache.storage.records import SampleRecord


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Counts of a finished cache."""

    images: int
    failed: int
    prompts: int
    labels: int


def finish(
    folder: Path,
    manifest: Manifest,
    shards: Mapping[int, FileEntry],
    labels: pa.Table,
    measured_queries: Mapping[str, str],
    backbone: Backbone | None,
    prompts: Iterable[str] = (),
) -> Finished:
    """Write the tables, the missing prompts and cache.json.

    A part gets the labels of all planned images, and no measured ones: those are made when the
    parts are merged, so that the rows are in the same order as without parts.

    Args:
        folder: The cache, locked by the caller.
        manifest: What the cache is.
        shards: The entry of each shard by its number.
        labels: The labels of the planned images.
        measured_queries: Measure name to prompt.
        backbone: Encodes prompts that are not there yet; None loads the cache's own.
        prompts: More prompts to encode.
    """
    samples = read_samples(folder, manifest, sorted(shards))
    write_table(folder / SAMPLES, samples)
    texts = queries_of(labels) | set(prompts) | set(measured_queries.values())
    if not manifest.part:
        labels = with_measured(samples, labels, measured_queries)
    write_table(folder / LABELS, labels)
    count = add_prompts(folder, manifest, texts, lambda: backbone or load_backbone_of(manifest))
    complete(folder, manifest, described(shards, samples))
    images = ok_samples(samples).num_rows
    failed = without_gone(samples).num_rows - images
    return Finished(images=images, failed=failed, prompts=count, labels=labels.num_rows)


def read_samples(folder: Path, manifest: Manifest, shards: Sequence[int]) -> pa.Table:
    """Build the samples table from shards, given by their numbers in order."""
    return samples_table(
        read_records(folder, manifest, shards), read_changes(folder, manifest, shards)
    )


def read_records(
    folder: Path, manifest: Manifest, shards: Iterable[int]
) -> Iterator[tuple[int, list[SampleRecord]]]:
    """Yield the number and the records of shards."""
    for number in shards:
        yield number, open_shard_of(folder, manifest, shard_name(number)).records()


def read_changes(folder: Path, manifest: Manifest, shards: Iterable[int]) -> Iterator[Change]:
    """Yield what shards say of images in earlier ones, in order."""
    for number in shards:
        yield from open_shard_of(folder, manifest, shard_name(number)).changes()


def described(shards: Mapping[int, FileEntry], samples: pa.Table) -> dict[str, FileEntry]:
    """Return the entries of shards by name, with how many of their rows readers see."""
    places = np.asarray(ok_samples(samples)["shard"], np.int64)
    counts = np.bincount(places, minlength=max(shards, default=0) + 1)
    return {shard_name(n): shards[n].with_live(int(counts[n])) for n in sorted(shards)}


def complete(folder: Path, manifest: Manifest, shards: Mapping[str, FileEntry]) -> None:
    """Write cache.json with the digests of the given shards and of all other files."""
    names = [name for name in (SAMPLES, LABELS, PROMPTS, PLANNED) if (folder / name).exists()]
    others = {name: FileEntry.of(folder / name) for name in names}
    manifest.with_files({**shards, **others}).write(folder)

"""The last step of every writer: tables from the shards, prompts, and the digests of all files.

The shards are the truth; samples.parquet is made from their records. cache.json is written last,
so a cache that says it is complete is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from featcache.extraction.backbone import load_backbone_of
from featcache.extraction.prompts import add_prompts
from featcache.storage.layout import LABELS, PROMPTS, SAMPLES, shard_name
from featcache.storage.manifest import FileEntry, Manifest
from featcache.storage.shard import open_shard_of
from featcache.storage.tables import queries_of, samples_table, with_measured, write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa

    from featcache.backbone import Backbone
    from featcache.storage.shard import SampleRecord


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
    samples = samples_table(read_records(folder, manifest, sorted(shards)))
    write_table(folder / SAMPLES, samples)
    texts = queries_of(labels) | set(prompts) | set(measured_queries.values())
    if not manifest.part:
        labels = with_measured(samples, labels, measured_queries)
    write_table(folder / LABELS, labels)
    count = add_prompts(folder, manifest, texts, lambda: backbone or load_backbone_of(manifest))
    complete(folder, manifest, {shard_name(n): shards[n] for n in sorted(shards)})
    ok = sum(e.rows or 0 for e in shards.values())
    return Finished(images=ok, failed=samples.num_rows - ok, prompts=count, labels=labels.num_rows)


def read_records(
    folder: Path, manifest: Manifest, shards: Iterable[int]
) -> Iterator[tuple[int, list[SampleRecord]]]:
    """Yield the number and the records of shards."""
    for number in shards:
        yield number, open_shard_of(folder, manifest, shard_name(number)).records()


def complete(folder: Path, manifest: Manifest, shards: Mapping[str, FileEntry]) -> None:
    """Write cache.json with the digests of the given shards and of all other files."""
    names = [name for name in (SAMPLES, LABELS, PROMPTS) if (folder / name).exists()]
    others = {name: FileEntry.of(folder / name) for name in names}
    manifest.with_files({**shards, **others}).write(folder)

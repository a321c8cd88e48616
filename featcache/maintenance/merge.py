"""Merge: the parts of a cache that several machines made become one.

    machine i:  extract(dataset, f"part{i}", backbone, ExtractConfig(part=(i, 4)))
    then:       merge_caches(["part1", "part2", "part3", "part4"], "cache")

The result has the bytes of an extraction on one machine, as far as the machines' features have.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from featcache.datasets import reader
from featcache.datasets.columns import LABELS_SCHEMA
from featcache.errors import CacheFormatError, DatasetError, FeatcacheError
from featcache.extraction.finish import finish
from featcache.extraction.prompts import stored_prompts
from featcache.storage.durable import (
    explained,
    fsync_path,
    make_folders,
    remove_temporaries,
    write_pieces,
)
from featcache.storage.fingerprint import differences, require_same
from featcache.storage.history import append_history
from featcache.storage.layout import (
    LABELS,
    PLANNED,
    SAMPLES,
    SHARDS,
    folder_exists,
    shard_name,
    shard_number,
)
from featcache.storage.lock import writing
from featcache.storage.manifest import Manifest, new_identity
from featcache.storage.prompts import write_prompts
from featcache.storage.shard import mismatches, open_shard_of, write_empty_shard
from featcache.storage.tables import SAMPLES_SCHEMA, read_table, without_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from featcache.storage.entries import FileEntry
    from featcache.storage.prompts import Prompt

CHUNK = 1 << 22  # bytes per read of a copy


@dataclass(frozen=True, kw_only=True)
class MergeSummary:
    """How a merge ended: counts of the whole cache, and how its shards came."""

    out: Path
    parts: int
    images: int
    failed: int
    labels: int
    prompts: int
    linked: int
    copied: int


def merge_caches(
    parts: Sequence[str | Path],
    out: str | Path,
    *,
    measured_queries: Mapping[str, str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> MergeSummary:
    """Put the parts of a cache together. Shards are hard-linked, or copied across disks.

    Args:
        parts: Folders that ``extract`` with ``part`` has finished, in any order.
        out: The new cache.
        measured_queries: Of a data set that is not in `featcache.datasets`.
        on_progress: Called with the number of shards done and in all.

    Raises:
        FingerprintMismatchError: Parts hold different features; each difference is named.
        FeatcacheError: Parts are missing, unfinished or contradict each other.
        CacheFormatError: A shard is damaged.
    """
    folders = [Path(part) for part in parts]
    out = Path(out)
    manifests = [_finished_part(folder) for folder in folders]
    whole = _require_same_whole(folders, manifests)
    sources = _sources(folders, manifests)
    labels = _labels(folders)
    _require_one_data_set(folders, manifests)
    if measured_queries is None:
        measured_queries = reader(whole.dataset["name"]).measured_queries
    make_folders(out / SHARDS)
    with writing(out):
        if folder_exists(out) and Manifest.read(out).files:
            raise FeatcacheError(f"{out} already holds a cache; choose another --out")
        remove_temporaries(out)
        remove_temporaries(out / SHARDS)
        whole.write(out)
        entries, linked, numbers = {}, 0, range(max(sources, default=-1) + 1)
        for number in numbers:
            if number in sources:
                folder, entry = sources[number]
                linked += _take(folder, out, number, entry, whole)
                entries[number] = entry
            else:  # one part has grown by more shards than another
                entries[number] = write_empty_shard(out, whole, number)
            if on_progress:
                on_progress(number + 1, len(numbers))
        prompts: dict[str, Prompt] = {}
        for folder, manifest in zip(folders, manifests, strict=True):
            prompts = stored_prompts(folder, manifest) | prompts  # the first part has the say
        if prompts:
            write_prompts(out, prompts, whole.fingerprint)
        finished = finish(out, whole, entries, labels, measured_queries, None)
        summary = MergeSummary(
            out=out,
            parts=len(folders),
            images=finished.images,
            failed=finished.failed,
            labels=finished.labels,
            prompts=finished.prompts,
            linked=linked,
            copied=len(sources) - linked,
        )
        append_history(out, whole, "merge", summary)
    return summary


def _finished_part(folder: Path) -> Manifest:
    manifest = Manifest.read(folder)
    if manifest.part is None:
        raise FeatcacheError(
            f"{folder} is not a part of a cache; parts are made with `featcache extract --part I/N`"
        )
    if not manifest.finished:
        raise FeatcacheError(
            f"{folder}: part {manifest.part} has not finished; run its `featcache extract` again"
        )
    return manifest


def _require_same_whole(folders: Sequence[Path], manifests: Sequence[Manifest]) -> Manifest:
    """Refuse parts of different caches, and missing ones; returns the whole, unfinished.

    Options of the data set are not compared: files lie elsewhere on each machine. What was read
    from them is, in `_labels` and `_require_one_data_set`.
    """
    if not folders:
        raise FeatcacheError("no parts were given")
    first, part = manifests[0], manifests[0].part
    assert part is not None
    for folder, manifest in zip(folders[1:], manifests[1:], strict=True):
        require_same(first.fingerprint, manifest.fingerprint, str(folders[0]), str(folder))
        assert manifest.part is not None
        one, other = (
            {
                "dataset": m.dataset["name"],
                "shard_size": m.shard_size,
                "parts": p.count,
                "images": p.images,
            }
            for m, p in ((first, part), (manifest, manifest.part))
        )
        if found := list(differences(one, other)):
            lines = "\n".join(f"  {name}: {a!r} and {b!r}" for name, a, b in found)
            raise FeatcacheError(f"{folders[0]} and {folder} are not of one cache:\n{lines}")
    given = {manifest.part.index for manifest in manifests if manifest.part}
    if missing := sorted(set(range(1, part.count + 1)) - given):
        names = ", ".join(f"{index}/{part.count}" for index in missing)
        raise FeatcacheError(f"parts are missing: {names}")
    whole = replace(first.current(), part=None, identity=new_identity())  # it is a new cache
    return whole.unfinished()


def _sources(
    folders: Sequence[Path], manifests: Sequence[Manifest]
) -> dict[int, tuple[Path, FileEntry]]:
    """Say where each shard comes from; refuse gaps, and shards that differ between parts."""
    sources: dict[int, tuple[Path, FileEntry]] = {}
    for folder, manifest in zip(folders, manifests, strict=True):
        for name, entry in manifest.shards().items():
            number = shard_number(name)
            other, known = sources.setdefault(number, (folder, entry))
            if known != entry:
                raise FeatcacheError(
                    f"{other / name} and {folder / name} differ; leave out one of the two folders"
                )
    part = manifests[0].part
    needed = -(-part.images // manifests[0].shard_size) if part else 0
    misplaced = sorted(set(range(needed)) - sources.keys())
    if part and part.listing is None:  # of version 1, which did not grow
        misplaced = sorted(set(range(needed)) ^ sources.keys())
    if misplaced:
        raise FeatcacheError(
            f"{needed} shards are needed; missing, or too many: {', '.join(map(str, misplaced))}"
        )
    return sources


def _labels(folders: Sequence[Path]) -> pa.Table:
    """Read the labels, which every part holds of all planned images."""
    first = read_table(folders[0] / LABELS, LABELS_SCHEMA)
    for folder in folders[1:]:
        if not read_table(folder / LABELS, LABELS_SCHEMA).equals(first):
            raise DatasetError(
                f"{folders[0] / LABELS} and {folder / LABELS} differ: the machines read different "
                "labels; run `featcache extract` again for the parts with the old ones"
            )
    return first


def _require_one_data_set(folders: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    """Refuse parts whose images cannot be those of one data set: in two parts, or in none."""
    parts = {m.part.index: folder for folder, m in zip(folders, manifests, strict=True) if m.part}
    samples = {
        folder: without_gone(read_table(folder / SAMPLES, SAMPLES_SCHEMA))["sample_id"]
        for folder in parts.values()
    }
    ids = pa.chunked_array(
        [chunk for column in samples.values() for chunk in column.chunks], pa.string()
    )
    counts = ids.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), pa.scalar(1))).field("values")
    if len(repeated):
        name = repeated[0].as_py()
        where = [
            str(folder) for folder, column in samples.items() if column.index(name).as_py() >= 0
        ]
        raise DatasetError(
            f"{' and '.join(where)} both hold the image {name!r}: the machines listed different "
            "images; extract all parts from the same data set"
        )
    labeled = read_table(folders[0] / LABELS, LABELS_SCHEMA)["sample_id"]
    if len(unknown := labeled.filter(pc.invert(pc.is_in(labeled, value_set=ids)))):
        raise DatasetError(
            f"no part holds the image {unknown[0].as_py()!r}, which has labels: the machines "
            "listed different images; extract all parts from the same data set"
        )
    seen = [m.part.listing for m in manifests if m.part and m.part.listing]
    planned = [m.files[PLANNED].xxh3_128 for m in manifests if PLANNED in m.files]
    if len({*seen}) > 1 or len({*planned}) > 1:
        raise DatasetError(
            f"{', '.join(map(str, folders))} list different images: the data set changed between "
            "their extractions. Run the `featcache extract` of each part again"
        )


def _take(folder: Path, out: Path, number: int, entry: FileEntry, whole: Manifest) -> bool:
    """Link or copy a shard; returns whether it was linked."""
    name = shard_name(number)
    source, target = folder / name, out / name
    found = mismatches(open_shard_of(folder, whole, name), whole, name, entry)
    if (size := source.stat().st_size) != entry.bytes:
        found.append(f"{size} bytes, expected {entry.bytes}")
    if found:
        raise CacheFormatError(f"{source}: {'; '.join(found)}; run `featcache repair {folder}`")
    with explained(target):
        target.unlink(missing_ok=True)  # of a merge that was killed
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
        else:
            fsync_path(target.parent)
            return True
    if write_pieces(target, _blocks(source)) != (entry.bytes, entry.xxh3_128):
        target.unlink()
        raise CacheFormatError(f"{source}: damaged; run `featcache repair {folder}`")
    return False


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(CHUNK):
            yield block

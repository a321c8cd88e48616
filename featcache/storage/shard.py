"""One shard: an HDF5 file with the features of consecutive images of a data set.

    tokens     [N, V, P, C]  float16, float32 or int8   not in a cache without tokens
    scales     [N, V, P]     float32                    only with int8: one per token
    pooled     [N, V, E]     float32
    sample_id  [N]           fixed-length UTF-8 bytes
    digests    [N, 16]       uint8: XXH3-128 of a row's id, tokens, scales and pooled bytes
    records    [K]           uint8: JSON lines: {"settings": ...}, what became of images in
                             earlier shards (``changes.py``), then one line per planned image

Every data set is contiguous and unfiltered, so a reader may map its byte range. The root's
attributes are ``schema_version``, ``fingerprint``, ``index`` and ``records_digest``. A shard is
written once, under a temporary name, and carries all that is needed to rebuild samples.parquet
and cache.json: records of all images, failures included, and the cache's settings.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xxhash

from featcache.errors import CacheFormatError
from featcache.storage.entries import FileEntry
from featcache.storage.hdf5 import Pending, Region, read_regions, unexpected, write_arrays
from featcache.storage.layout import READABLE_VERSIONS, SCHEMA_VERSION, shard_name
from featcache.storage.records import (
    read_changes,
    read_records,
    read_settings,
    records_bytes,
)
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from featcache.storage.changes import Change
    from featcache.storage.layout import Shapes
    from featcache.storage.manifest import Manifest
    from featcache.storage.records import SampleRecord

T = TypeVar("T")

DIGEST_BYTES = 16
FEATURES = ("tokens", "scales", "pooled")  # data sets by row, in the order of a row's digest


@dataclass(frozen=True, kw_only=True)
class ShardContent:
    """What a shard is written from.

    Attributes:
        records: One per planned image, in data set order.
        pooled: float32 [N, V, E], rows in the order of the records that are ``ok``.
        tokens: [N, V, P, C]; None in a cache without tokens.
        scales: float32 [N, V, P] with int8 tokens, else None.
        changes: What became of images in earlier shards.
    """

    records: Sequence[SampleRecord]
    pooled: NDArray[np.float32]
    tokens: NDArray[Any] | None = None
    scales: NDArray[np.float32] | None = None
    changes: Sequence[Change] = ()


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """A checked shard: where its data sets lie. Nothing stays open."""

    path: Path
    index: int
    fingerprint: str
    num_rows: int
    records_digest: str
    schema_version: int
    regions: Mapping[str, Region]

    def map(self, name: str) -> NDArray[Any]:
        """Map one data set read-only."""
        return self.regions[name].map(self.path)

    def records(self) -> list[SampleRecord]:
        """Read the records of images; raises CacheFormatError where they are damaged."""
        return self._read(read_records)

    def changes(self) -> list[Change]:
        """Read what became of images in earlier shards; raises CacheFormatError likewise."""
        return self._read(read_changes)

    def settings(self) -> dict[str, Any] | None:
        """Read the settings of the cache that the shard was made for; None where it has none."""
        return self._read(read_settings)

    def _read(self, reader: Callable[[bytes], T]) -> T:
        content = self.map("records").tobytes()
        found = xxhash.xxh3_128_hexdigest(content)
        if found != self.records_digest:
            raise CacheFormatError(
                f"{self.path}: the records' digest is {found}, stored {self.records_digest}; "
                "the file is damaged: run `featcache verify`, then `featcache repair`"
            )
        try:
            return reader(content)
        except (ValueError, TypeError, AttributeError) as error:
            raise CacheFormatError(f"{self.path}: unreadable records: {error}") from error

    def content(self) -> ShardContent:
        """Return what the shard was written from; features stay mapped, not read."""
        arrays: dict[str, Any] = {name: self.map(name) for name in FEATURES if name in self.regions}
        return ShardContent(records=self.records(), changes=self.changes(), **arrays)

    def damaged_rows(self) -> list[int]:
        """Compare every row with its stored digest; returns the rows that differ."""
        ids, digests = self.map("sample_id"), self.map("digests")
        arrays = [self.map(name) for name in FEATURES if name in self.regions]
        return [
            row
            for row in range(self.num_rows)
            if row_digest(ids[row : row + 1], *(array[row] for array in arrays))
            != digests[row].tobytes()
        ]


def row_digest(sample_id: NDArray[Any], *arrays: NDArray[Any]) -> bytes:
    """XXH3-128 over a row's id and features, in the order tokens, scales, pooled."""
    state = xxhash.xxh3_128(sample_id.tobytes())
    for array in arrays:
        state.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    return state.digest()


def _row_digests(ids: NDArray[Any], *arrays: NDArray[Any]) -> NDArray[np.uint8]:
    """Digests of all rows, uint8 [N, 16]."""
    rows = range(len(ids))
    whole = b"".join(row_digest(ids[n : n + 1], *(array[n] for array in arrays)) for n in rows)
    return np.frombuffer(whole, np.uint8).reshape(len(ids), DIGEST_BYTES)


def write_shard(
    path: Path,
    content: ShardContent,
    *,
    index: int,
    fingerprint: str,
    settings: Mapping[str, Any] | None = None,
    schema_version: int = SCHEMA_VERSION,
) -> FileEntry:
    """Write a shard, atomically and durably; the bytes depend on the arguments alone.

    Args:
        path: The shard's final name.
        content: Records and features.
        index: The shard's number.
        fingerprint: Digest of what determines the features.
        settings: ``Manifest.settings()``, from which a lost cache.json can be rebuilt.
        schema_version: Of the layout; an old one only to restore an old shard's bytes.

    Returns:
        The entry of cache.json that describes the file.

    Raises:
        DiskSpaceError, WriteError: As `featcache.storage.durable.committed`.
    """
    ids = np.array([r.sample_id.encode() for r in content.records if r.ok], dtype=np.bytes_)
    if not len(ids):
        ids = np.empty(0, "S1")
    given = {"tokens": content.tokens, "pooled": content.pooled, "scales": content.scales}
    arrays = {name: array for name, array in given.items() if array is not None}
    for name, array in arrays.items():
        if len(array) != len(ids):
            raise ValueError(
                f"shard {index}: {quantity(len(array), 'row')} of {name}, "
                f"{quantity(len(ids), 'id')}"
            )
    ordered = [arrays[name] for name in FEATURES if name in arrays]
    records = records_bytes(content.records, content.changes, settings)
    with ThreadPoolExecutor(1, "digests") as pool:  # hashed while the features are written
        digests = Pending(
            shape=(len(ids), DIGEST_BYTES),
            dtype=np.dtype("uint8"),
            future=pool.submit(_row_digests, ids, *ordered),
        )
        size, digest = write_arrays(
            path,
            {
                **arrays,
                "sample_id": ids,
                "digests": digests,
                "records": np.frombuffer(records, np.uint8),
            },
            {
                "schema_version": schema_version,
                "fingerprint": fingerprint.encode(),
                "index": index,
                "records_digest": xxhash.xxh3_128_hexdigest(records).encode(),
            },
        )
    return FileEntry(bytes=size, xxh3_128=digest, rows=len(ids))


def write_empty_shard(
    folder: Path, manifest: Manifest, number: int, changes: Sequence[Change] = ()
) -> FileEntry:
    """Write a shard without images: for what it says of others, or as numbers have no gap."""
    shapes, views = manifest.shapes, len(manifest.fingerprint.views)
    dtype = manifest.fingerprint.dtype
    tokens = np.empty((0, views, shapes.num_tokens, shapes.token_dim), dtype)
    quantized = shapes.num_tokens and dtype == "int8"
    return write_shard(
        folder / shard_name(number),
        ShardContent(
            records=(),
            pooled=np.empty((0, views, shapes.pooled_dim), np.float32),
            tokens=tokens if shapes.num_tokens else None,
            scales=np.empty(tokens.shape[:3], np.float32) if quantized else None,
            changes=changes,
        ),
        index=number,
        fingerprint=manifest.fingerprint.digest,
        settings=manifest.settings(),
        schema_version=manifest.schema_version,
    )


def open_shard(path: Path, *, shapes: Shapes, num_views: int, dtype: str) -> ShardIndex:
    """Check a shard's structure against what the cache says, before any data is touched.

    Raises:
        CacheFormatError: With the file, what was found and what was expected.
    """
    expected: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
        "pooled": (np.dtype("float32"), (num_views, shapes.pooled_dim)),
        "digests": (np.dtype("uint8"), (DIGEST_BYTES,)),
    }
    if shapes.num_tokens:
        expected["tokens"] = (np.dtype(dtype), (num_views, shapes.num_tokens, shapes.token_dim))
        if dtype == "int8":
            expected["scales"] = (np.dtype("float32"), (num_views, shapes.num_tokens))
    expected["sample_id"] = (np.dtype("S"), ())
    expected["records"] = (np.dtype("uint8"), ())
    regions, attributes = read_regions(path, expected, ATTRIBUTES)
    if attributes["schema_version"] not in READABLE_VERSIONS:
        known = " or ".join(map(str, READABLE_VERSIONS))
        raise unexpected(path, "schema_version", attributes["schema_version"], known)
    num_rows = regions["sample_id"].shape[0]
    for name, region in regions.items():
        if name != "records" and region.shape[0] != num_rows:
            raise unexpected(path, name, quantity(region.shape[0], "row"), f"{num_rows}")
    return ShardIndex(
        path=path,
        index=attributes["index"],
        fingerprint=attributes["fingerprint"],
        num_rows=num_rows,
        records_digest=attributes["records_digest"],
        schema_version=attributes["schema_version"],
        regions=regions,
    )


def open_shard_of(folder: Path, manifest: Manifest, name: str) -> ShardIndex:
    """Open a shard with the shapes of its cache; `mismatches` tells whether it belongs there.

    Args:
        folder: The cache.
        manifest: What the cache is.
        name: As `featcache.storage.layout.shard_name` makes it.

    Raises:
        CacheFormatError: As `open_shard`.
    """
    return open_shard(
        folder / name,
        shapes=manifest.shapes,
        num_views=len(manifest.fingerprint.views),
        dtype=manifest.fingerprint.dtype,
    )


def mismatches(
    shard: ShardIndex, manifest: Manifest, name: str, entry: FileEntry | None
) -> list[str]:
    """Say in what a shard is not the one that its name and cache.json mean; nothing where it is.

    A shard that was copied over another one, or that comes from another cache, opens well.

    Args:
        shard: As `open_shard_of` gives it.
        manifest: What the cache is.
        name: The shard's path below the cache.
        entry: What cache.json says of the file; None where it says nothing yet.
    """
    found = []
    if shard.fingerprint != manifest.fingerprint.digest:
        found.append(
            f"features {shard.fingerprint}, expected {manifest.fingerprint.digest}: "
            "it belongs to another cache"
        )
    if shard_name(shard.index) != name:
        found.append(f"it is shard {shard.index}: swapped or copied")
    if entry and shard.num_rows != entry.rows:
        found.append(f"{quantity(shard.num_rows, 'row')}, expected {entry.rows}")
    return found


ATTRIBUTES = {"schema_version": int, "index": int, "fingerprint": bytes, "records_digest": bytes}


def shard_settings(path: Path) -> dict[str, Any] | None:
    """Read the settings in a shard of a cache that nothing is known of; None where it has none.

    Raises:
        CacheFormatError: The shard is damaged or unsafe.
    """
    regions, attributes = read_regions(
        path, {"records": (np.dtype("uint8"), ())}, ATTRIBUTES, others=True
    )
    shard = ShardIndex(
        path=path,
        index=attributes["index"],
        fingerprint=attributes["fingerprint"],
        num_rows=0,
        records_digest=attributes["records_digest"],
        schema_version=attributes["schema_version"],
        regions=regions,
    )
    return shard.settings()

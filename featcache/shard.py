"""One shard: an HDF5 file with the features of consecutive images of a data set.

    tokens     [N, V, P, C]  float16, float32 or int8   contiguous
    scales     [N, V, P]     float32                    only with int8: one per token
    pooled     [N, V, E]     float32
    sample_id  [N]           fixed-length UTF-8 bytes
    digests    [N, 16]       uint8: XXH3-128 of a row's id, tokens, scales and pooled bytes
    records    [K]           uint8: JSON lines, one per planned image, failures included

Every data set is contiguous and unfiltered, so a reader may map its byte range. The root's
attributes are ``schema_version``, ``fingerprint``, ``index`` and ``records_digest``. A shard is
written once, under a temporary name, and carries all that is needed to rebuild samples.parquet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import xxhash

from featcache.durable import committed
from featcache.errors import CacheFormatError
from featcache.fingerprint import SCHEMA_VERSION, canonical_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from featcache.layout import Shapes

DIGEST_BYTES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRecord:
    """What is known of one image: a line of a shard's records, a row of samples.parquet.

    ``status`` is ``ok`` or ``failed``; a failed image has an ``error`` and no features. Sizes are
    those of the upright image, measures are `featcache.measures` of its pixels.
    """

    sample_id: str
    path: str
    status: str
    error: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    brightness: float | None = None
    contrast: float | None = None
    colourfulness: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the image has features."""
        return self.status == "ok"


@dataclass(frozen=True, kw_only=True)
class ShardContent:
    """What a shard is written from.

    Attributes:
        records: One per planned image, in data set order.
        tokens: [N, V, P, C], rows in the order of the records that are ``ok``.
        pooled: float32 [N, V, E].
        scales: float32 [N, V, P] with int8 tokens, else None.
    """

    records: Sequence[SampleRecord]
    tokens: NDArray[Any]
    pooled: NDArray[np.float32]
    scales: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where a contiguous data set lies in its file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def num_bytes(self) -> int:
        """Size of the data set."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def map(self, path: Path) -> NDArray[Any]:
        """Map the region read-only."""
        if not self.num_bytes:
            return np.empty(self.shape, self.dtype)
        return np.memmap(path, self.dtype, "r", self.offset, self.shape)


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """A checked shard: where its data sets lie. Nothing stays open."""

    path: Path
    index: int
    fingerprint: str
    num_rows: int
    records_digest: str
    regions: Mapping[str, Region]

    def map(self, name: str) -> NDArray[Any]:
        """Map one data set read-only."""
        return self.regions[name].map(self.path)

    def records(self) -> list[SampleRecord]:
        """Read the records; raises CacheFormatError where they are damaged."""
        content = self.map("records").tobytes()
        found = xxhash.xxh3_128_hexdigest(content)
        if found != self.records_digest:
            raise CacheFormatError(
                f"{self.path}: the records' digest is {found}, stored {self.records_digest}; "
                "the file is damaged: run `featcache verify`, then `featcache repair`"
            )
        names = {field.name for field in fields(SampleRecord)}
        try:
            lines = [json.loads(line) for line in content.decode().splitlines()]
            return [SampleRecord(**{k: v for k, v in x.items() if k in names}) for x in lines]
        except (ValueError, TypeError, AttributeError) as error:
            raise CacheFormatError(f"{self.path}: unreadable records: {error}") from error

    def damaged_rows(self) -> list[int]:
        """Compare every row with its stored digest; returns the rows that differ."""
        ids, digests = self.map("sample_id"), self.map("digests")
        arrays = [self.map(name) for name in ("tokens", "scales", "pooled") if name in self.regions]
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


def write_shard(path: Path, content: ShardContent, *, index: int, fingerprint: str) -> None:
    """Write a shard: temporary name, flush, fsync, rename, fsync of the folder.

    The bytes depend on the arguments alone.
    """
    ids = np.array([r.sample_id.encode() for r in content.records if r.ok], dtype=np.bytes_)
    if not len(ids):
        ids = np.empty(0, "S1")
    arrays = {"tokens": content.tokens, "pooled": content.pooled}
    if content.scales is not None:
        arrays["scales"] = content.scales
    for name, array in arrays.items():
        if len(array) != len(ids):
            raise ValueError(f"shard {index}: {len(array)} rows of {name}, {len(ids)} ids")
    ordered = [arrays[name] for name in ("tokens", "scales", "pooled") if name in arrays]
    digests = np.array(
        [
            np.frombuffer(row_digest(ids[n : n + 1], *(a[n] for a in ordered)), np.uint8)
            for n in range(len(ids))
        ],
        np.uint8,
    ).reshape(len(ids), DIGEST_BYTES)
    records = "".join(canonical_json(asdict(record)) + "\n" for record in content.records).encode()
    with committed(path) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
        file.create_dataset("sample_id", data=ids)
        file.create_dataset("digests", data=digests)
        file.create_dataset("records", data=np.frombuffer(records, np.uint8))
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["fingerprint"] = np.bytes_(fingerprint.encode())
        file.attrs["index"] = index
        file.attrs["records_digest"] = np.bytes_(xxhash.xxh3_128_hexdigest(records).encode())


def open_shard(path: Path, *, shapes: Shapes, num_views: int, dtype: str) -> ShardIndex:
    """Check a shard's structure against what the cache says, before any data is touched.

    Only hard links to contiguous, unfiltered data sets of the expected names, types and shapes
    are accepted, and only where the file is large enough to hold them: no external links or
    storage, no virtual data sets, no soft links, no filters.

    Raises:
        CacheFormatError: With the file, what was found and what was expected.
    """
    expected: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
        "tokens": (np.dtype(dtype), (num_views, shapes.num_tokens, shapes.token_dim)),
        "pooled": (np.dtype("float32"), (num_views, shapes.pooled_dim)),
        "digests": (np.dtype("uint8"), (DIGEST_BYTES,)),
    }
    if dtype == "int8":
        expected["scales"] = (np.dtype("float32"), (num_views, shapes.num_tokens))
    expected["sample_id"] = (np.dtype("S"), ())
    expected["records"] = (np.dtype("uint8"), ())
    regions, attributes = read_regions(path, expected, ATTRIBUTES)
    if attributes["schema_version"] != SCHEMA_VERSION:
        raise _wrong(path, "schema_version", attributes["schema_version"], SCHEMA_VERSION)
    num_rows = regions["sample_id"].shape[0]
    for name, region in regions.items():
        if name != "records" and region.shape[0] != num_rows:
            raise _wrong(path, name, f"{region.shape[0]} rows", f"{num_rows}")
    return ShardIndex(
        path=path,
        index=attributes["index"],
        fingerprint=attributes["fingerprint"],
        num_rows=num_rows,
        records_digest=attributes["records_digest"],
        regions=regions,
    )


ATTRIBUTES = {"schema_version": int, "index": int, "fingerprint": bytes, "records_digest": bytes}

Kinds = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]


def read_regions(
    path: Path, kinds: Kinds, attributes: Mapping[str, type]
) -> tuple[dict[str, Region], dict[str, Any]]:
    """Locate the data sets of an HDF5 file, refusing all that could be more than plain bytes.

    Args:
        path: The file.
        kinds: For each data set its dtype and its shape after the first axis; no other member
            may be there. The dtype ``S`` stands for bytes of any fixed length.
        attributes: For each attribute ``int`` or ``bytes``.

    Raises:
        CacheFormatError: With the file, what was found and what was expected.
    """
    try:
        size = path.stat().st_size
        with h5py.File(path, "r") as file:
            if (names := sorted(file.keys())) != sorted(kinds):
                raise _wrong(path, "members", names, sorted(kinds))
            values = {name: _attribute(path, file, name, kind) for name, kind in attributes.items()}
            regions = {name: _region(path, file, name, size) for name in names}
    except FileNotFoundError as error:
        raise CacheFormatError(f"{path}: missing; run `featcache repair`") from error
    except (OSError, RuntimeError, KeyError) as error:
        raise CacheFormatError(f"{path}: not a readable HDF5 file: {error}") from error
    for name, (dtype, tail) in kinds.items():
        region = regions[name]
        same = region.dtype.kind == "S" if dtype == np.dtype("S") else region.dtype == dtype
        if not same or len(region.shape) != 1 + len(tail) or region.shape[1:] != tail:
            found = f"{region.dtype} {list(region.shape)}"
            raise _wrong(path, name, found, f"{dtype} {['N', *tail]}")
    return regions, values


def _attribute(path: Path, file: h5py.File, name: str, kind: type) -> Any:
    """Read one small scalar attribute of a known type."""
    if name not in file.attrs:
        raise _wrong(path, f"attribute {name}", "none", "one")
    stored = file.attrs.get_id(name)
    if stored.shape != () or stored.dtype.kind not in "iuS" or stored.dtype.itemsize > 64:
        raise _wrong(path, f"attribute {name}", stored.dtype, "a short scalar")
    if (kind is bytes) != (stored.dtype.kind == "S"):
        raise _wrong(path, f"attribute {name}", stored.dtype, kind.__name__)
    value = file.attrs[name]
    return int(value) if kind is int else bytes(value).decode("ascii", "replace")


def _region(path: Path, file: h5py.File, name: str, size: int) -> Region:
    """Locate a data set, refusing everything that is not plain bytes inside this file."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise _wrong(path, name, "a soft or external link", "a data set in this file")
    data = file.get(name)
    if not isinstance(data, h5py.Dataset):
        raise _wrong(path, name, type(data).__name__, "a data set")
    plan = data.id.get_create_plist()
    if plan.get_nfilters():
        raise _wrong(path, name, f"{plan.get_nfilters()} filters", "none")
    if data.is_virtual or plan.get_layout() != h5py.h5d.CONTIGUOUS:
        raise _wrong(path, name, "a chunked, compact or virtual layout", "a contiguous one")
    if plan.get_external_count():
        raise _wrong(path, name, "external storage", "data in this file")
    region = Region(offset=data.id.get_offset() or 0, shape=data.shape, dtype=data.dtype)
    if region.num_bytes and (region.offset <= 0 or region.offset + region.num_bytes > size):
        raise _wrong(
            path, name, f"{region.num_bytes} bytes at {region.offset}", f"inside {size} bytes"
        )
    return region


def _wrong(path: Path, what: str, found: Any, expected: Any) -> CacheFormatError:
    return CacheFormatError(f"{path}: {what}: found {found}, expected {expected}")

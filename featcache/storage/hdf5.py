"""Plain HDF5: files of contiguous, unfiltered data sets, written by us and located for mapping.

Reading: a file may come from a stranger, so only hard links to contiguous data sets of the
expected names, types and shapes are accepted, and only where the file is large enough to hold
them: no external links or storage, no virtual data sets, no soft links, no filters.

Writing: the HDF5 library lays the file out in memory, a few kilobytes without the arrays; then
one pass of plain writes puts everything on the disk. So a full disk is an ordinary error of an
ordinary write, and arrays go to the disk at its own speed.
"""

from __future__ import annotations

import io
import math
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from featcache.errors import CacheFormatError
from featcache.storage.durable import write_pieces

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray

ALIGNMENT = 65536  # bytes, of every array of that size or more: the largest pages in use


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where a contiguous data set lies in its file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def num_bytes(self) -> int:
        """Size of the data set."""
        return math.prod(self.shape) * self.dtype.itemsize  # Python's integers do not overflow

    def map(self, path: Path) -> NDArray[Any]:
        """Map the region read-only."""
        if not self.num_bytes:
            return np.empty(self.shape, self.dtype)
        return np.memmap(path, self.dtype, "r", self.offset, self.shape)

    def read(self, path: Path) -> NDArray[Any]:
        """Read the region into memory."""
        return np.array(self.map(path))


@dataclass(frozen=True, kw_only=True)
class Pending:
    """An array to write that is still being computed: what is known of it, and where it comes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    future: Future[NDArray[Any]]


Kinds = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]


def read_regions(
    path: Path, kinds: Kinds, attributes: Mapping[str, type], *, others: bool = False
) -> tuple[dict[str, Region], dict[str, Any]]:
    """Locate the data sets of an HDF5 file, refusing all that could be more than plain bytes.

    Args:
        path: The file.
        kinds: For each data set its dtype and its shape after the first axis. The dtype ``S``
            stands for bytes of any fixed length.
        attributes: For each attribute ``int`` or ``bytes``.
        others: Whether other members may be there; they are not looked at.

    Raises:
        CacheFormatError: With the file, what was found and what was expected.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for ever
            raise unexpected(path, "kind", "a folder, pipe or device", "a file")
        size = status.st_size
        with h5py.File(path, "r") as file:
            if file.userblock_size:
                raise unexpected(path, "user block", f"{file.userblock_size} bytes", "none")
            names = sorted(kinds)
            if (members := sorted(file.keys())) != names and not others:
                raise unexpected(path, "members", members, names)
            values = {name: _attribute(path, file, name, kind) for name, kind in attributes.items()}
            regions = {name: _region(path, file, name, size) for name in names}
    except FileNotFoundError as error:
        raise CacheFormatError(f"{path}: missing; run `featcache repair`") from error
    except (OSError, RuntimeError, KeyError) as error:
        raise CacheFormatError(
            f"{path}: not a readable HDF5 file: {error}; run `featcache repair`"
        ) from error
    for name, (dtype, tail) in kinds.items():
        region = regions[name]
        same = region.dtype.kind == "S" if dtype == np.dtype("S") else region.dtype == dtype
        if not same or len(region.shape) != 1 + len(tail) or region.shape[1:] != tail:
            found = f"{region.dtype} {list(region.shape)}"
            raise unexpected(path, name, found, f"{dtype} {['N', *tail]}")
    ends = 0
    for name, region in sorted(regions.items(), key=lambda item: item[1].offset):
        if region.num_bytes:
            if region.offset < ends:
                raise unexpected(path, name, f"bytes from {region.offset}", f"bytes from {ends} on")
            ends = region.offset + region.num_bytes
    return regions, values


def write_arrays(
    path: Path, arrays: Mapping[str, NDArray[Any] | Pending], attributes: Mapping[str, int | bytes]
) -> tuple[int, str]:
    """Write an HDF5 file of contiguous data sets, atomically and durably.

    The bytes depend on the arguments alone (and on the HDF5 library's choice of metadata). An
    array that is still being computed is waited for when its turn comes.

    Returns:
        The file's size in bytes and its XXH3-128.

    Raises:
        DiskSpaceError, WriteError: As `featcache.storage.durable.committed`.
    """
    layout = _Layout()
    pieces: list[tuple[int, int, Callable[[], Any]]] = []
    with h5py.File(
        layout,
        "w",
        libver=("v110", "v110"),
        alignment_threshold=ALIGNMENT,
        alignment_interval=ALIGNMENT,
    ) as file:
        for name, array in arrays.items():
            offset = _reserve(file, name, array)
            if size := math.prod(array.shape) * array.dtype.itemsize:
                pieces.append((offset, size, partial(_flat, array)))
        for name, value in attributes.items():
            file.attrs[name] = np.bytes_(value) if isinstance(value, bytes) else value
    return write_pieces(
        path,
        _sequence(
            sorted(
                [*pieces, *((at, len(x), partial(_flat, x)) for at, x in layout.pieces.items())],
                key=lambda piece: piece[0],
            )
        ),
    )


def _flat(content: NDArray[Any] | Pending | bytes) -> Any:
    """Return the bytes of an array, waiting for one that is still being computed."""
    if isinstance(content, bytes):
        return content
    array = content.future.result() if isinstance(content, Pending) else content
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _reserve(file: h5py.File, name: str, array: NDArray[Any] | Pending) -> int:
    """Make a contiguous data set whose bytes are written by someone else; returns its offset."""
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_obj_track_times(False)  # the same content has the same bytes
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind = h5py.h5t.py_create(array.dtype, logical=True)
    space = h5py.h5s.create_simple(array.shape)
    data = h5py.h5d.create(file.id, name.encode(), kind, space, plan)
    return int(data.get_offset() or 0)


def _sequence(pieces: list[tuple[int, int, Callable[[], Any]]]) -> Iterator[Any]:
    """Yield buffers in the order of the file, with zeros where nothing was put."""
    position = 0
    for offset, size, content in pieces:
        if offset < position:
            raise RuntimeError(f"HDF5 laid two things over each other at byte {offset}")
        if offset > position:
            yield bytes(offset - position)
        yield content()
        position = offset + size


class _Layout(io.RawIOBase):
    """A file that keeps what the HDF5 library writes, and nothing in between.

    The library never reads a new file's metadata back from the disk; should it ever, the base
    class raises.
    """

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}
        self.position = 0
        self.size = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        self.position = base + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def write(self, data: Any) -> int:
        self.pieces[self.position] = bytes(data)
        self.position += len(data)
        self.size = max(self.size, self.position)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        self.size = self.position if size is None else size
        return self.size

    def flush(self) -> None:
        """Nothing is buffered."""


def _attribute(path: Path, file: h5py.File, name: str, kind: type) -> Any:
    """Read one small scalar attribute of a known type."""
    if name not in file.attrs:
        raise unexpected(path, f"attribute {name}", "none", "one")
    stored = file.attrs.get_id(name)
    if stored.shape != () or stored.dtype.kind not in "iuS" or stored.dtype.itemsize > 64:
        raise unexpected(path, f"attribute {name}", stored.dtype, "a short scalar")
    if (kind is bytes) != (stored.dtype.kind == "S") or stored.get_type().committed():
        raise unexpected(path, f"attribute {name}", stored.dtype, kind.__name__)
    value = file.attrs[name]
    return int(value) if kind is int else bytes(value).decode("ascii", "replace")


def _region(path: Path, file: h5py.File, name: str, size: int) -> Region:
    """Locate a data set, refusing everything that is not plain bytes inside this file."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise unexpected(path, name, "a soft or external link", "a data set in this file")
    data = file.get(name)
    if not isinstance(data, h5py.Dataset):
        raise unexpected(path, name, type(data).__name__, "a data set")
    plan = data.id.get_create_plist()
    if plan.get_nfilters():
        raise unexpected(path, name, f"{plan.get_nfilters()} filters", "none")
    if data.is_virtual or plan.get_layout() != h5py.h5d.CONTIGUOUS:
        raise unexpected(path, name, "a chunked, compact or virtual layout", "a contiguous one")
    if plan.get_external_count():
        raise unexpected(path, name, "external storage", "data in this file")
    if data.id.get_type().committed() or data.shape is None:
        raise unexpected(path, name, "a named type, or no shape", "a data set of its own")
    region = Region(offset=data.id.get_offset() or 0, shape=data.shape, dtype=data.dtype)
    if region.num_bytes and (region.offset <= 0 or region.offset + region.num_bytes > size):
        raise unexpected(
            path, name, f"{region.num_bytes} bytes at {region.offset}", f"inside {size} bytes"
        )
    if region.num_bytes >= ALIGNMENT and region.offset % ALIGNMENT:
        raise unexpected(path, name, f"byte {region.offset}", f"a multiple of {ALIGNMENT}")
    return region


def unexpected(path: Path, what: str, found: Any, expected: Any) -> CacheFormatError:
    """Say where a file differs from what it should be."""
    return CacheFormatError(f"{path}: {what}: found {found}, expected {expected}")

"""Rows of many files as one array in memory, without keeping a descriptor.

``mmap.mmap`` duplicates the file's descriptor for as long as it lives, and a process has 1,024 of
them as a rule. A mapping itself needs none, so thousands of shards can stay mapped (Linux allows
65,530 mappings). Python 3.13 has this as ``trackfd=False``; here it is for the versions before.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.errors import MappingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

    from featcache.storage.hdf5 import Region

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    *(ctypes.c_void_p, ctypes.c_size_t),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long),
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_FAILED = ctypes.c_void_p(-1).value
_MAP_FIXED = 0x10  # the same on Linux and macOS; Python does not name it
_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

PAGE = mmap.PAGESIZE
HUGE_PAGE = max(1 << 21, PAGE)  # files at its multiples can be mapped by large pages
LONGEST = 1 << 30  # bytes of addresses per file that may be spent on that
CACHE_LINE = 64


class RowSpace:
    """The rows of many files as one array, of which each file fills a part when it is placed.

    A range of addresses is reserved, which takes no memory, and each file's region is mapped into
    its own part of it, where its first row lies a whole number of rows from the start. So a row of
    any file is a row of one array, and a batch over many files is a single ``numpy.take``: one
    copy per row, and the interpreter lock is released once. Between the files lie addresses that
    belong to nobody; to read there ends the process.

    A file that is cut short while it is mapped ends the process that reads behind its end, as
    with any mapping.

    Attributes:
        array: Read-only [slots, *row_shape]. Everything is unmapped when no view of it is left.
        starts: int64 [files], slot of each file's first row; -1 until it is placed.

    Args:
        counts: Rows of each file.
        row_shape: Shape of a row.
        dtype: Of its numbers.

    Raises:
        MappingError: So many addresses cannot be had (``ulimit -v``).
    """

    def __init__(self, counts: Sequence[int], row_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        kind = np.dtype(dtype)
        self.row_bytes = row = math.prod(row_shape) * kind.itemsize
        self._units = [u for u in (HUGE_PAGE, PAGE) if u == PAGE or math.lcm(u, row) <= LONGEST]
        # Wherever in its period a file's first row has to lie, the rows fit into their part.
        spare = HUGE_PAGE + row + max(math.lcm(unit, row) for unit in self._units)
        self._parts: list[int] = np.cumsum([0, *(c * row + spare for c in counts)]).tolist()
        size = self._parts[-1] + HUGE_PAGE
        address = _map(None, size, 0, _ANONYMOUS)
        self._base = -(-address // HUGE_PAGE) * HUGE_PAGE
        owner = (ctypes.c_ubyte * (self._parts[-1] // row * row)).from_address(self._base)
        # Not at the interpreter's exit: a thread may still be reading, and the kernel cleans up.
        weakref.finalize(owner, _libc.munmap, address, size).atexit = False
        flat = np.frombuffer(memoryview(owner), kind)
        flat.flags.writeable = False
        self.array: NDArray[Any] = flat.reshape(-1, *row_shape)
        self.starts = np.full(len(counts), -1, np.int64)

    def place(self, number: int, path: Path, region: Region) -> None:
        """Map the rows of file ``number``; there are as many as was announced.

        A region that cannot lie where it has to is read into memory instead: a small one, as
        larger ones begin at multiples of every page size (``hdf5.ALIGNMENT``).

        Raises:
            MappingError: The file cannot be mapped.
            OSError: It cannot be opened or read.
        """
        row, offset = self.row_bytes, region.offset
        # The first slot that is wholly in the part, with what the pages before it bring along.
        slot = -(-(self._parts[number] + HUGE_PAGE) // row)
        unit = next((u for u in self._units if offset % math.gcd(u, row) == 0), 0)
        if unit:
            # A page of the file lies at a page of memory: solve  slot * row = offset  modulo unit.
            common = math.gcd(unit, row)
            period = unit // common
            slot += (offset // common * pow(row // common, -1, period) - slot) % period
        if region.num_bytes:
            start = self._base + slot * row
            inside = start % (unit or PAGE)  # with a unit, also offset % unit
            place = start - inside, inside + region.num_bytes
            with path.open("rb") as file:
                if unit:
                    where = file.fileno(), offset - inside
                    _map(*place, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, *where)
                else:
                    _map(*place, mmap.PROT_READ | mmap.PROT_WRITE, _ANONYMOUS | _MAP_FIXED)
                    memory = (ctypes.c_ubyte * region.num_bytes).from_address(start)
                    file.seek(offset)
                    if file.readinto(memory) != region.num_bytes:
                        raise OSError(None, "the file ends too early", str(path))
        self.starts[number] = slot

    def take(self, slots: NDArray[np.int64], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Copy rows [n, *row_shape], all of placed files, into ``out`` or a new array."""
        if out is None:
            out = aligned_empty((len(slots), *self.array.shape[1:]), self.array.dtype)
        # Slots are in range; the default mode would check, and fill a buffer in between.
        return self.array.take(slots, axis=0, out=out, mode="clip")

    def will_need(self, slots: NDArray[np.int64]) -> None:
        """Let the kernel fetch rows from the disk while we do something else.

        Page faults fetch one after the other what this fetches at once. It is advice: where it
        cannot be followed, reading is as slow as without it.
        """
        for slot in slots.tolist():
            start = self._base + slot * self.row_bytes
            first = start - start % PAGE
            _libc.madvise(first, start + self.row_bytes - first, mmap.MADV_WILLNEED)


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an uninitialized array at the start of a cache line, as torch allocates.

    ``numpy.empty`` puts large arrays 16 bytes behind the start of a page. Copying rows there from
    the start of a page takes twice as long: each load waits for a store 16 bytes before it,
    which has the same last twelve bits of its address (docs/benchmarks/read.md).
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    first = -memory.ctypes.data % CACHE_LINE
    return memory[first : first + size].view(kind).reshape(shape)


def _map(
    address: int | None, size: int, access: int, flags: int, descriptor: int = -1, offset: int = 0
) -> int:
    """Call mmap(2); raises MappingError."""
    found = _libc.mmap(address, size, access, flags, descriptor, offset)
    if found == _FAILED:
        number = ctypes.get_errno()
        raised = MappingError(
            f"{size:,} bytes of features cannot be mapped: {os.strerror(number)}. Mapping takes "
            "addresses, not memory; where `ulimit -v` limits them, lift it: ulimit -v unlimited"
        )
        raised.errno = number
        raise raised
    return int(found)

"""Map a file read-only without keeping a descriptor.

``mmap.mmap`` duplicates the file's descriptor for as long as it lives, and a process has 1,024 of
them as a rule. A mapping itself needs none, so thousands of shards can stay mapped (Linux allows
65,530 mappings). Python 3.13 has this as ``trackfd=False``; here it is for the versions before.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    *(ctypes.c_void_p, ctypes.c_size_t),
    *(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long),
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_FAILED = ctypes.c_void_p(-1).value


def map_file(path: Path) -> NDArray[np.uint8]:
    """Map a whole file as a read-only array [bytes]; it is unmapped when no view of it is left.

    A file that is cut short while it is mapped ends the process that reads behind its end, as
    with any mapping.

    Raises:
        OSError: It cannot be opened or mapped; an empty file cannot.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    owner = (ctypes.c_ubyte * size).from_address(address)
    # Not at the interpreter's exit: a thread may still be reading, and the kernel cleans up.
    weakref.finalize(owner, _libc.munmap, address, size).atexit = False
    content: NDArray[np.uint8] = np.frombuffer(memoryview(owner), np.uint8)
    content.flags.writeable = False
    return content


def will_need(array: NDArray[Any]) -> None:
    """Let the kernel fetch the pages of a mapped, contiguous array while we do something else.

    Page faults fetch one after the other what this fetches at once. It is advice: where it cannot
    be followed, reading is as slow as without it.
    """
    start = array.ctypes.data
    first = start - start % mmap.PAGESIZE
    _libc.madvise(first, start + array.nbytes - first, mmap.MADV_WILLNEED)

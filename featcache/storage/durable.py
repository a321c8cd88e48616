"""Durable, atomic writes: nothing half-written ever carries a final name.

A file is written under a temporary name in the same folder, flushed and fsynced, renamed, and
the folder is fsynced. After a crash there is the old file or the new one, never a part.
"""

from __future__ import annotations

import ctypes
import errno
import json
import math
import os
import re
import shutil
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import xxhash

from featcache.errors import DiskSpaceError, FeatcacheError, WriteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

TEMPORARY = ".tmp"  # the ending of every file that is not committed yet
_TEMPORARY_NAME = re.compile(r".+\.[0-9]+\.tmp")  # name, pid, ending: ours and nobody else's
# Name, host, pid, attempt, ending, and perhaps the temporary ending of that: see `staged`.
_STAGED_NAME = re.compile(r".+\.([A-Za-z0-9-]+)\.([0-9]+)\.[0-9]+\.tmp(\.[0-9]+\.tmp)?")
_FORGOTTEN = 3600.0  # seconds since a distant writer has touched a file that it wrote in seconds
_FULL = (errno.ENOSPC, errno.EDQUOT)
# What is not the disk's fault: permissions, and files where folders should be.
_ELSEWHERE = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)
# Bytes that are written before the disk is told to begin with them. Parts end at its multiples, so
# that Linux keeps them in large pages, from which a mapping is read up to 1.7 times as fast.
PART = 1 << 22

_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux has it
if _sync_file_range:
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
_BEGIN_TO_WRITE = 2  # SYNC_FILE_RANGE_WRITE


def fsync_path(path: Path) -> None:
    """Make the content of a file, or the entries of a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Make a folder and its parents; each new entry is durable before the next is made.

    Raises:
        DiskSpaceError, WriteError: A folder cannot be made.
    """
    with explained(folder):
        if folder.is_dir():
            return
        make_folders(folder.parent)
        folder.mkdir(exist_ok=True)
        fsync_path(folder.parent)


def require_writable(path: Path) -> None:
    """Make sure that a file or folder can be written, before there is work to lose; makes nothing.

    Raises:
        WriteError: It cannot, as far as permissions tell.
    """
    parents = path.absolute().parents
    with explained(path):
        place = next(place for place in (path, *parents) if place.exists())
        if place != path and not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        # A file is replaced, not written into: what counts is its folder.
        folder = place if place.is_dir() else parents[0]
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"no permission to write in {folder}")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Tell a failure to write a file or folder in one sentence, with what to do.

    Raises:
        DiskSpaceError: The disk, or the user's quota, is full.
        WriteError: It cannot be written for another reason.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, FeatcacheError):
            raise
        raise _write_error(path, error) from error


@contextmanager
def committed(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on a clean exit it becomes ``path``, durably.

    On an exception the temporary file is removed and ``path`` stays as it was.

    Raises:
        DiskSpaceError: The disk, or the user's quota, is full.
        WriteError: The file cannot be written for another reason.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    with explained(path):
        try:
            temporary.unlink(missing_ok=True)  # of a killed process that had the same pid
            yield temporary
            fsync_path(temporary)
            temporary.replace(path)
            fsync_path(path.parent)
        except BaseException:
            with suppress(OSError):  # on a broken disk this fails too; the first failure is told
                temporary.unlink(missing_ok=True)
            raise


@contextmanager
def committed_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on a clean exit it becomes ``path``, with all its files.

    Everything in it is made durable before it gets its name. On an exception it is removed.

    Args:
        path: A folder that is absent or empty.

    Raises:
        DiskSpaceError: The disk, or the user's quota, is full.
        WriteError: It cannot be written for another reason, or ``path`` holds something.
    """
    make_folders(path.parent)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    with explained(path):
        try:
            shutil.rmtree(temporary, ignore_errors=True)  # of a killed process with the same pid
            temporary.mkdir()
            yield temporary
            for one in (*temporary.rglob("*"), temporary):
                fsync_path(one)
            temporary.replace(path)
            fsync_path(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def prepare_target(path: Path) -> None:
    """Make the folder of a file that work will end in, or find out now that it cannot be written.

    Raises:
        DiskSpaceError, WriteError: It cannot.
    """
    if path.is_dir():
        raise WriteError(f"{path} is a folder; name a file in it")
    require_writable(path)
    make_folders(path.parent)


def write_pieces(path: Path, pieces: Iterable[Any]) -> tuple[int, str]:
    """Write buffers one after the other into a file, atomically and durably.

    Args:
        path: The file's final name.
        pieces: Buffers; each is asked for when the one before it is written.

    Returns:
        The file's size in bytes and its XXH3-128, of what was meant to be written.

    Raises:
        DiskSpaceError, WriteError: As `committed`.
    """
    position, state, hashed = 0, xxhash.xxh3_128(), []
    # Hashing leaves the interpreter lock, and so do writing and fsync: it costs none of their time.
    with ThreadPoolExecutor(1, "hash") as pool, committed(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            for piece in pieces:
                rest = memoryview(piece).cast("B")
                hashed.append(pool.submit(state.update, rest))
                while rest:
                    written = os.write(descriptor, rest[: PART - position % PART])
                    _begin_to_write(descriptor, position, written)
                    position += written
                    rest = rest[written:]
        finally:
            os.close(descriptor)
    for future in hashed:
        future.result()  # raises what went wrong
    return position, state.hexdigest()


def _begin_to_write(descriptor: int, position: int, size: int) -> None:
    """Let the disk begin with a part of a file, so that fsync finds little left to wait for.

    It promises nothing, and whatever fails is told by fsync, so its answer does not matter.
    """
    if _sync_file_range:
        _sync_file_range(descriptor, position, size, _BEGIN_TO_WRITE)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically and durably."""
    write_pieces(path, [content])


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, atomically and durably; its folder is made where there is none."""
    make_folders(path.parent)
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document, indented for people, atomically and durably.

    JSON has no NaN and no infinity: a number that is not finite becomes null.
    """
    text = json.dumps(finite(value), indent=2, sort_keys=True, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def finite(value: Any) -> Any:
    """Return a JSON value with null in place of numbers that are not finite, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def is_temporary(path: Path) -> bool:
    """Tell whether a file has the name that `committed` gives to what it has not finished."""
    return bool(_TEMPORARY_NAME.fullmatch(path.name)) and path.is_file()


def staged(path: Path, attempt: int) -> Path:
    """Return the name under which this process writes a file that another one commits.

    It carries host, process and attempt, so that no two writers share one. To readers it is a
    file that is not finished.
    """
    return path.with_name(f"{path.name}.{_host()}.{os.getpid()}.{attempt}{TEMPORARY}")


def _host() -> str:
    """Return this machine's name, as it stands in names of files."""
    return re.sub("[^A-Za-z0-9]+", "-", socket.gethostname())


def remove_temporaries(folder: Path) -> list[str]:
    """Remove what killed writers left behind; returns the names. Call it under the lock.

    A file that a writer has staged for another process stays as long as that writer may live:
    its process is there, or it is on another machine and has written within the hour.
    """
    removed = []
    for path in sorted(folder.iterdir()):
        if is_temporary(path) and not _in_use(path):
            with explained(path):
                path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed


def _in_use(path: Path) -> bool:
    """Tell whether the writer that has staged a file may still live."""
    found = _STAGED_NAME.fullmatch(path.name)
    if found is None:
        return False
    host, pid = found[1], int(found[2])
    try:
        if host != _host():
            return time.time() - path.stat().st_mtime < _FORGOTTEN
        os.kill(pid, 0)
    except (ProcessLookupError, FileNotFoundError, OverflowError):
        return False
    except PermissionError:  # it lives, and is somebody else's
        return True
    return True


def file_digest(
    path: Path,
    chunk: int = 1 << 22,
    on_bytes: Callable[[int], None] | None = None,
    *,
    from_disk: bool = False,
) -> str:
    """XXH3-128 of a whole file, in hexadecimal.

    Args:
        path: The file.
        chunk: Bytes per read.
        on_bytes: Called with the number of bytes after each read.
        from_disk: Drop the file from the page cache first, where the system can: what is in
            memory says nothing about what is on the disk.
    """
    state = xxhash.xxh3_128()
    buffer = memoryview(bytearray(chunk))
    with path.open("rb", buffering=0) as stream:
        if from_disk and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while count := stream.readinto(buffer):
            state.update(buffer[:count])
            if on_bytes:
                on_bytes(count)
    return state.hexdigest()


def _write_error(path: Path, error: OSError) -> FeatcacheError:
    """Say in one sentence what could not be written, why, and what to do."""
    full = error.errno in _FULL
    if full:
        advice = "free some space, then run the same command again"
    elif error.errno in _ELSEWHERE:
        advice = "check the folder, or choose another one"
    elif error.errno == errno.EFBIG:
        advice = "raise the limit of file sizes (ulimit -f), then run the same command again"
    else:
        advice = "check the disk, then run the same command again"
    raised = (DiskSpaceError if full else WriteError)(
        f"{path} could not be written: {error.strerror or error}. What was finished before is "
        f"kept; {advice}"
    )
    raised.errno = error.errno
    return raised

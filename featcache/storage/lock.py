"""One writer per folder: an advisory lock that ends with its process.

The kernel holds the lock for as long as the process lives, so a killed writer leaves none behind;
the file's content only tells the next one who holds it.

Some file systems of clusters have no locks, and some systems no ``flock``. There a second file
stands for the lock while a process writes to a cache. A killed writer leaves it behind, and the
message says when it may be deleted. A run has no such file: its worker may be killed and start
again with nobody there to delete it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from featcache.errors import CacheLockedError, CacheNotFoundError, FolderLockedError, WriteError
from featcache.storage.durable import explained
from featcache.storage.layout import HELD, LOCK

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def writing(cache: Path) -> Iterator[None]:
    """Hold the cache's lock.

    Raises:
        CacheNotFoundError: There is no such folder.
        CacheLockedError: Another process holds it; the message names its pid and host.
        WriteError: The folder cannot be written to, or its lock fails.
    """
    try:
        descriptor = _open(cache)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CacheNotFoundError(f"{cache}: there is no such folder") from error
    try:
        locked = _take(cache, descriptor, CacheLockedError, "using this cache")
        _refuse_held(cache)
        if not locked:
            _hold(cache)
        try:
            with _signed(cache, descriptor):
                yield
        finally:
            if not locked:
                (cache / HELD).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, if its file system has locks.

    Args:
        folder: There already.

    Raises:
        FolderLockedError: Another process is at work there; the message names its pid and host.
        WriteError: The folder cannot be written to, or its lock fails.
    """
    descriptor = _open(folder)
    try:
        _take(folder, descriptor, FolderLockedError, "at work in this folder")
        with _signed(folder, descriptor):
            yield
    finally:
        os.close(descriptor)


@contextmanager
def reading(cache: Path) -> Iterator[None]:
    """Keep writers out while a cache is checked; others may read. Needs no right to write.

    Raises:
        CacheLockedError: A process is writing to the cache.
    """
    try:
        descriptor = os.open(cache / LOCK, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:  # a copy without its lock file
        yield
        return
    try:
        try:
            _flock(descriptor, shared=True)
        except BlockingIOError as error:
            raise CacheLockedError(
                f"{cache}: {_owner(descriptor)} is writing to this cache; wait for it, or stop it"
            ) from error
        _refuse_held(cache)
        yield
    finally:
        os.close(descriptor)


def _open(folder: Path) -> int:
    """Open the lock's file; it is never removed, as a lock on a file that is gone keeps nobody out.

    Raises:
        FileNotFoundError, NotADirectoryError: There is no such folder.
        WriteError: It cannot be written to.
    """
    try:
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise WriteError(
            f"{folder} cannot be written to: {error.strerror}; check its permissions, or choose "
            "another folder"
        ) from error


def _take(folder: Path, descriptor: int, busy: type[FolderLockedError], doing: str) -> bool:
    """Take the lock for this process alone; returns False where there is none to be had.

    Raises:
        FolderLockedError: As ``busy``; another process holds it, and the message says what it does.
        WriteError: The disk fails.
    """
    try:
        return _flock(descriptor, shared=False)
    except BlockingIOError as error:
        raise busy(f"{folder}: {_owner(descriptor)} is {doing}; wait for it, or stop it") from error
    except OSError as error:
        raise WriteError(f"{folder / LOCK} cannot be locked: {error.strerror}") from error


@contextmanager
def _signed(folder: Path, descriptor: int) -> Iterator[None]:
    """Keep this process's name in the lock's file."""
    try:
        with explained(folder / LOCK):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, _name(), 0)
        yield
    finally:
        os.ftruncate(descriptor, 0)


def _name() -> bytes:
    """Return what tells others who holds a lock."""
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()


def _flock(descriptor: int, *, shared: bool) -> bool:
    """Take the kernel's lock; returns False where there is none to be had.

    Raises:
        BlockingIOError: Another process holds it.
        OSError: The disk fails.
    """
    if fcntl is None:
        return False
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _hold(cache: Path) -> None:
    """Make the file that stands for the lock; one process alone can."""
    try:
        descriptor = os.open(cache / HELD, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        _refuse_held(cache)
        raise
    try:
        with explained(cache / HELD):
            os.write(descriptor, _name())
    except OSError:
        (cache / HELD).unlink()
        raise
    finally:
        os.close(descriptor)


def _refuse_held(cache: Path) -> None:
    """Raise an error where the file that stands for the lock is there."""
    try:
        descriptor = os.open(cache / HELD, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        owner = _owner(descriptor)
    finally:
        os.close(descriptor)
    raise CacheLockedError(
        f"{cache}: {owner} is using this cache, on a file system without locks; wait for it, or "
        f"stop it. If it no longer runs, delete {cache / HELD}"
    )


def _owner(descriptor: int) -> str:
    """Say who holds the lock, as far as its file tells."""
    try:
        owner = json.loads(os.pread(descriptor, 1024, 0))
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"

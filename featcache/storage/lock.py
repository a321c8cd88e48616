"""One writer per cache: an advisory lock that ends with its process.

The kernel holds the lock for as long as the process lives, so a killed writer leaves none behind;
the file's content only tells the next one who holds it.

Some file systems of clusters have no locks, and some systems no ``flock``. There a second file
stands for the lock while a process writes. A killed writer leaves it behind, and the message says
when it may be deleted.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from featcache.errors import CacheLockedError, CacheNotFoundError, WriteError
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
        WriteError: The folder cannot be written to, or its file system has no locks.
    """
    try:
        # Never removed: a lock on a file that was unlinked would not keep anyone out.
        descriptor = os.open(cache / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CacheNotFoundError(f"{cache}: there is no such folder") from error
    except OSError as error:
        raise WriteError(
            f"{cache} cannot be written to: {error.strerror}; check its permissions, or choose "
            "another folder"
        ) from error
    try:
        try:
            locked = _flock(descriptor, shared=False)
        except BlockingIOError as error:
            raise CacheLockedError(
                f"{cache}: {_owner(descriptor)} is using this cache; wait for it, or stop it"
            ) from error
        except OSError as error:
            raise WriteError(f"{cache / LOCK} cannot be locked: {error.strerror}") from error
        owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()
        _refuse_held(cache)
        if not locked:
            _hold(cache, owner)
        try:
            with explained(cache / LOCK):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, owner, 0)
            yield
        finally:
            os.ftruncate(descriptor, 0)
            if not locked:
                (cache / HELD).unlink(missing_ok=True)
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


def _hold(cache: Path, owner: bytes) -> None:
    """Make the file that stands for the lock; one process alone can."""
    try:
        descriptor = os.open(cache / HELD, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        _refuse_held(cache)
        raise
    try:
        with explained(cache / HELD):
            os.write(descriptor, owner)
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

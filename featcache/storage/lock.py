"""One writer per cache: an advisory lock that ends with its process.

The kernel holds the lock for as long as the process lives, so a killed writer leaves none behind;
the file's content only tells the next one who holds it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from featcache.errors import CacheLockedError, CacheNotFoundError, WriteError
from featcache.storage.layout import LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
            f"{cache} cannot be written to: {error.strerror}; see to its permissions, or choose "
            "another folder"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CacheLockedError(
                f"{cache}: {_owner(descriptor)} is using this cache; wait for it, or stop it"
            ) from error
        except OSError as error:
            raise WriteError(
                f"{cache / LOCK} cannot be locked: {error.strerror}; this file system has no "
                "locks: write the cache to a local disk, and copy it when it is finished"
            ) from error
        owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, owner.encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
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
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CacheLockedError(
                f"{cache}: {_owner(descriptor)} is writing to this cache; wait for it, or stop it"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _owner(descriptor: int) -> str:
    """Say who holds the lock, as far as its file tells."""
    try:
        owner = json.loads(os.pread(descriptor, 1024, 0))
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"

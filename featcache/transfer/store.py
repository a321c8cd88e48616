"""A folder somewhere: on a disk, in an object store, on a hub. The rest is one interface (fsspec).

Files on a disk are written atomically and durably, as all of ours are. An object store shows an
object when it is whole; a file that breaks off in the middle is given up, not closed.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import xxhash

from featcache.errors import ConfigError, FeatcacheError, TransferError
from featcache.storage.durable import make_folders, write_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

CHUNK = 1 << 22  # bytes that are read at once
TRIES = 5
PAUSE = 1.0  # seconds before the second try; twice as many before each further one, 30 at most
_PACKAGES = {"s3": "featcache[s3]", "s3a": "featcache[s3]", "gs": "gcsfs", "gcs": "gcsfs"}


@dataclass(frozen=True, kw_only=True)
class Store:
    """A folder somewhere.

    Attributes:
        place: What people call it.
        files: The file system of fsspec that it is in.
        root: Its path there.
        folder: Its path, where it is a folder of this machine.
    """

    place: str
    files: Any
    root: str
    folder: Path | None = None

    @classmethod
    def at(cls, place: str | Path) -> Store:
        """Find a folder or an address.

        Raises:
            ConfigError: What reads such addresses is not installed.
        """
        from fsspec.core import url_to_fs

        place = str(place)
        try:
            files, root = url_to_fs(place)
        except (ImportError, ValueError) as error:
            kind = place.split(":", 1)[0]
            package = _PACKAGES.get(kind)
            advice = f"pip install '{package}'" if package else str(error)
            more = f"{place}: addresses of {kind}:// need more packages: {advice}"
            raise ConfigError(more) from error
        local = "file" in (files.protocol if isinstance(files.protocol, tuple) else ("",))
        return cls(
            place=place,
            files=files,
            root=root.rstrip("/"),
            folder=Path(root) if local else None,
        )

    def path(self, name: str) -> str:
        """Return the path of a file in the file system."""
        return f"{self.root}/{name}"

    def size(self, name: str) -> int | None:
        """Return the bytes of a file; None where there is none."""
        self.files.invalidate_cache()
        try:
            found = self.files.info(self.path(name))
        except Exception as error:
            if _missing(error):
                return None
            raise
        return int(found["size"]) if found["type"] == "file" else None

    def pieces(self, name: str) -> Iterator[bytes]:
        """Read a file in pieces.

        Raises:
            TransferError: It cannot be read. Stores have errors of many kinds, and whoever writes
                the pieces to a disk must not take one for an error of the disk.
        """
        try:
            with self.files.open(self.path(name), "rb", block_size=CHUNK) as file:
                while piece := file.read(CHUNK):
                    yield piece
        except Exception as error:
            raise TransferError(f"{self.place}/{name}: {_reason(error)}") from error

    def read(self, name: str) -> bytes:
        """Read a small file whole."""
        return b"".join(self.pieces(name))

    def write(self, name: str, pieces: Iterator[bytes]) -> None:
        """Write a file; where reading its pieces fails, there is none."""
        if self.folder is not None:
            path = self.folder / name
            make_folders(path.parent)
            write_pieces(path, pieces)
            return
        from fsspec.spec import AbstractBufferedFile

        file = self.files.open(self.path(name), "wb", block_size=2 * CHUNK)
        try:
            for piece in pieces:
                file.write(piece)
        except BaseException:
            file.discard()
            if isinstance(file, AbstractBufferedFile):
                file.closed = True  # closing it, also when it is collected, would commit it
            with suppress(
                OSError
            ):  # some stores show what is being written; the first error is told
                self.remove(name)
            raise
        file.close()

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.size(name) is not None:
            self.files.rm_file(self.path(name))

    def digest(self, name: str, on_bytes: Callable[[int], None] = lambda _: None) -> str:
        """Read a file and return its XXH3-128, in hexadecimal."""
        state = xxhash.xxh3_128()
        for piece in self.pieces(name):
            state.update(piece)
            on_bytes(len(piece))
        return state.hexdigest()


def _missing(error: Exception) -> bool:
    """Tell whether a store says that there is no such file.

    The hub's client has an error of its own for it, which was no FileNotFoundError in older ones.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, FileNotFoundError) or "EntryNotFoundError" in names


def insist(what: str, action: Callable[[], T], sleep: Callable[[float], None] = time.sleep) -> T:
    """Try something several times, with longer and longer pauses.

    Args:
        what: What is being done, for people.
        action: Does it. Errors of ours other than TransferError, missing files and refused rights
            end it at once.
        sleep: Waits for seconds.

    Raises:
        TransferError: The last try has failed too.
    """
    for tries in range(1, TRIES + 1):
        try:
            return action()
        except (FileNotFoundError, PermissionError) as error:
            raise TransferError(f"{what}: {_reason(error)}") from error
        except Exception as error:
            if isinstance(error, FeatcacheError) and not isinstance(error, TransferError):
                raise
            if tries == TRIES:
                raise TransferError(
                    f"{what}: {_reason(error)}, {TRIES} times in a row. What has arrived is kept; "
                    "the same command goes on"
                ) from error
            pause = min(PAUSE * 2 ** (tries - 1), 30.0)
            sleep(pause * random.uniform(0.5, 1.0))
    raise AssertionError  # the loop returns or raises


def _reason(error: Exception) -> str:
    """Say in one line what went wrong."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__

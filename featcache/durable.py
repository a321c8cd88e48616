"""Durable, atomic writes: nothing half-written ever carries a final name.

A file is written under a temporary name in the same folder, flushed and fsynced, renamed, and
the folder is fsynced. After a crash there is the old file or the new one, never a part.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPORARY = ".tmp"  # the ending of every file that is not committed yet


def fsync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def committed(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on a clean exit it becomes ``path``, durably.

    On an exception the temporary file is removed and ``path`` stays as it was.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        fsync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically and durably."""
    with committed(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document, indented for people, atomically and durably."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def remove_temporaries(folder: Path) -> list[str]:
    """Remove what a killed writer left behind; returns the names. Call it under the lock."""
    removed = []
    for path in sorted(folder.glob(f"*{TEMPORARY}")):
        path.unlink()
        removed.append(path.name)
    return removed


def file_digest(path: Path, chunk: int = 1 << 22) -> str:
    """XXH3-128 of a whole file, in hexadecimal."""
    state = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while block := stream.read(chunk):
            state.update(block)
    return state.hexdigest()

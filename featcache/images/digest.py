"""The SHA-256 of an image's file, without decoding it: what tells whether an image is the same."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path


class FileDigest(NamedTuple):
    """SHA-256 of a file, in hexadecimal, and its size in bytes."""

    sha256: str
    num_bytes: int


def digest_file(path: Path) -> FileDigest | None:
    """Read a file and hash it; None where there is no such file, or it cannot be read."""
    try:
        if not path.is_file():  # to open a pipe would wait for ever
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return FileDigest(digest, file.tell())
    except OSError:
        return None

"""What a person has said, on the disk before anything else happens.

One JSON object per line, each with its own digest, only ever added to. A process that is killed
leaves at most one torn line, which is cut off when the journal is opened again.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from adapter.errors import AdapterError
from featcache.storage.durable import explained, fsync_path, make_folders
from featcache.storage.fingerprint import canonical_json, digest

if TYPE_CHECKING:
    from pathlib import Path


class JournalError(AdapterError, ValueError):
    """A journal is damaged."""


class Journal:
    """An append-only file of events.

    Args:
        path: Made with its folders when it is not there.

    Attributes:
        events: Those that the file held when it was opened, in order. Later ones are in the file
            alone, so that a page which is open for long does not grow.

    Raises:
        JournalError: A line before the last one is damaged; the message names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path):
            make_folders(path.parent)
            self.events, whole = _read(path)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            os.ftruncate(self._file, whole)
            os.lseek(self._file, 0, os.SEEK_END)
            fsync_path(path.parent)

    def append(self, event: dict[str, Any]) -> None:
        """Add an event; it is on the disk when this returns.

        Raises:
            WriteError, DiskSpaceError: It could not be written; the journal is as before.
        """
        content = canonical_json({**event, "digest": digest(event)}).encode() + b"\n"
        with explained(self.path):
            end = os.lseek(self._file, 0, os.SEEK_END)
            try:
                written = 0
                while written < len(content):
                    written += os.write(self._file, content[written:])
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, end)
                raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the events, and how many bytes of the file hold them."""
    events: list[dict[str, Any]] = []
    whole = 0
    content = path.read_bytes() if path.exists() else b""
    lines = content.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        event = _event(line)
        if event is None:
            if number == len(lines):
                break
            raise JournalError(
                f"{path}, line {number}: damaged, so the lines after it cannot be trusted. Move "
                "the file away, or cut it off before this line"
            )
        events.append(event)
        whole += len(line)
    return events, whole


def _event(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line; None where its digest is another one."""
    try:
        event = json.loads(line)
        stated = event.pop("digest")
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    whole = canonical_json({**event, "digest": stated}).encode() + b"\n" == line
    return event if whole and digest(event) == stated else None

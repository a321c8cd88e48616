"""Marks embedded into the JPEG files of an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.takeaway.jpeg import embed
from adapter.takeaway.xmp import Marks, XmpError
from featcache.storage.durable import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from adapter.takeaway.log import ActionLog


def plan_embedding(marks: Mapping[Path, Marks]) -> list[tuple[Path, Marks]]:
    """Return the photos that will change, each tried once; nothing is written.

    Raises:
        XmpError: A photo is no JPEG, or cannot hold the marks; the message names it.
    """
    changed = []
    for photo, mark in marks.items():
        before = photo.read_bytes()
        if _embedded(photo, before, mark) != before:
            changed.append((photo, mark))
    return changed


def write_embedded(changes: Iterable[tuple[Path, Marks]], log: ActionLog) -> int:
    """Write photos, each atomically, with the whole old photo in the log; returns how many."""
    count = 0
    for photo, mark in changes:
        before = photo.read_bytes()
        after = _embedded(photo, before, mark)
        log.note_write(photo, before, after)
        write_bytes(photo, after)
        count += 1
    return count


def _embedded(photo: Path, content: bytes, mark: Marks) -> bytes:
    try:
        return embed(content, mark)
    except XmpError as error:
        raise XmpError(f"{photo}: {error}; nothing was written") from error

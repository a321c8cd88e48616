"""The sidecars of photos: which files they are, and writing marks into them.

Programs spell them in two ways: ``a.xmp`` (Adobe) and ``a.jpg.xmp`` (darktable, digiKam). Where one
or both are there, those are changed; else one is made, spelled as the caller says. Before the first
change a sidecar is copied to ``a.xmp.bak``, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from adapter.takeaway.xmp import Marks, XmpError, merge, read_marks
from featcache.storage.durable import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from adapter.takeaway.log import ActionLog

Spelling = Literal["full", "stem"]
BACKUP = ".bak"


@dataclass(frozen=True, kw_only=True)
class SidecarChange:
    """A sidecar and its new content.

    Attributes:
        path: The sidecar.
        old: Its content; None where there was none.
        new: What it gets.
    """

    path: Path
    old: bytes | None
    new: bytes


def sidecars(photo: Path) -> list[Path]:
    """Return the sidecars that a photo has, in both spellings."""
    both = (photo.with_name(photo.name + ".xmp"), photo.with_suffix(".xmp"))
    return [path for path in both if path.is_file()]


def photo_marks(photo: Path) -> Marks:
    """Read what the sidecars of a photo say; of two, the one of its full name first.

    Raises:
        XmpError: One is not XMP; the message names it.
    """
    found = [_read(path) for path in sidecars(photo)]
    return Marks(
        rating=next((m.rating for m in found if m.rating is not None), None),
        label=next((m.label for m in found if m.label is not None), None),
        keywords=tuple(dict.fromkeys(word for m in found for word in m.keywords)),
    )


def plan_sidecars(marks: Mapping[Path, Marks], spelling: Spelling = "full") -> list[SidecarChange]:
    """Merge marks of photos into their sidecars; nothing is written.

    Args:
        marks: Photo to marks. Two photos may share ``a.xmp``: then the last one has the say.
        spelling: Of sidecars that are made: ``full`` is ``a.jpg.xmp``, ``stem`` is ``a.xmp``.

    Raises:
        XmpError: A sidecar is not XMP; the message names it, and nothing is changed.
    """
    changes: dict[Path, SidecarChange] = {}
    for photo, mark in marks.items():
        new = photo.with_name(photo.name + ".xmp")
        new = new if spelling == "full" else photo.with_suffix(".xmp")
        for path in sidecars(photo) or [new]:
            there = changes.get(path)
            old = there.old if there else (path.read_bytes() if path.is_file() else None)
            try:
                content = merge(there.new if there else old, mark)
            except XmpError as error:
                raise XmpError(f"{path}: {error}; nothing was written") from error
            if content != old:
                changes[path] = SidecarChange(path=path, old=old, new=content)
    return list(changes.values())


def write_sidecars(changes: Iterable[SidecarChange], log: ActionLog) -> int:
    """Write changes, each atomically; returns how many.

    Raises:
        XmpError: A sidecar is no longer as it was when the change was planned.
        WriteError: It cannot be written.
    """
    count = 0
    for change in changes:
        now = change.path.read_bytes() if change.path.is_file() else None
        if now != change.old:
            raise XmpError(f"{change.path}: another program has changed it just now; try again")
        backup = change.path.with_name(change.path.name + BACKUP)
        if change.old is not None and not backup.exists():
            write_bytes(backup, change.old)
        log.note_write(change.path, change.old, change.new)
        write_bytes(change.path, change.new)
        count += 1
    return count


def _read(path: Path) -> Marks:
    try:
        return read_marks(path.read_bytes())
    except XmpError as error:
        raise XmpError(f"{path}: {error}") from error

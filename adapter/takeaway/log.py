"""The log of what was done to files, written before it is done, and undoing it.

One JSON object per line; each is on the disk before its action begins, so a log that ends early
says at most one thing too much. Undoing goes backwards and touches only what is still as it was
left: a copy that somebody has changed since stays, and is named.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from adapter.errors import AdapterError
from featcache.storage.durable import file_digest, make_folders, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

Kind = Literal["link", "copy", "move", "write", "folder"]
FORMAT = "featcache-takeaway"


class UndoError(AdapterError, ValueError):
    """A log of what was done is damaged, or is none."""


class ActionLog:
    """Writes a log.

    Args:
        path: A new file.

    Raises:
        UndoError: There is such a file.
    """

    def __init__(self, path: Path) -> None:
        make_folders(path.parent)
        try:
            self._stream = path.open("x", encoding="utf-8")
        except FileExistsError as error:
            raise UndoError(f"{path}: is there already; name another log") from error
        self.path = path
        self._append({"format": FORMAT, "version": 1})

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._stream.close()

    def note(self, kind: Kind, path: Path, **more: Any) -> None:
        """Write down what is about to be done to a path."""
        self._append({"kind": kind, "path": str(path.absolute()), **more})

    def _append(self, value: dict[str, Any]) -> None:
        self._stream.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def note_write(self, path: Path, old: bytes | None, new: bytes) -> None:
        """Write down that a small file is about to get another content."""
        before = None if old is None else base64.b64encode(old).decode()
        self.note("write", path, before=before, after=hashlib.sha256(new).hexdigest())


@dataclass(frozen=True, kw_only=True)
class Undone:
    """What undoing a log has done.

    Attributes:
        count: Actions that were undone.
        left: Path to reason, of those that were not.
    """

    count: int
    left: dict[str, str]


def undo(path: Path) -> Undone:
    """Undo a log, the last action first.

    Raises:
        UndoError: It is no such log.
    """
    count, left = 0, {}
    for action in reversed(list(_read(path))):
        target = Path(action["path"])
        reason = _undo_one(action["kind"], target, action)
        if reason is None:
            count += 1
        elif reason:
            left[str(target)] = reason
    return Undone(count=count, left=left)


def _undo_one(kind: str, target: Path, action: dict[str, Any]) -> str | None:
    """Undo an action; returns why not, empty where there is nothing to do."""
    there = os.path.lexists(target)
    if kind == "folder":
        if not target.is_dir() or any(target.iterdir()):
            return ""
        target.rmdir()
        return None
    if kind == "write":
        return _undo_write(target, action)
    if not there:
        return ""  # it was not done any more, or was undone before
    if kind == "link":
        if not target.is_symlink() or str(target.readlink()) != action["source"]:
            return "it is not the link that was made"
        target.unlink()
        return None
    if file_digest(target) != action["digest"]:
        return "it was changed since"
    if kind == "copy":
        target.unlink()
        return None
    source = Path(action["source"])
    if os.path.lexists(source):
        return f"{source} is there again"
    make_folders(source.parent)
    shutil.move(target, source)
    return None


def _undo_write(target: Path, action: dict[str, Any]) -> str | None:
    now = target.read_bytes() if target.is_file() else None
    before = None if action["before"] is None else base64.b64decode(action["before"])
    if now == before:
        return ""
    if now is None or hashlib.sha256(now).hexdigest() != action["after"]:
        return "it was changed since"
    if before is None:
        target.unlink()
    else:
        write_bytes(target, before)
    return None


def _read(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UndoError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return  # the process was killed while it wrote this line; nothing was done
            raise UndoError(f"{path}, line {number}: not JSON; the log is damaged") from error
        if number == 1:
            if not isinstance(value, dict) or value.get("format") != FORMAT:
                raise UndoError(f"{path}: not a log of `adapter rank`")
            continue
        if not {"kind", "path"} <= value.keys():
            raise UndoError(f"{path}, line {number}: no kind or path; the log is damaged")
        yield value
    if not lines:
        raise UndoError(f"{path}: empty")

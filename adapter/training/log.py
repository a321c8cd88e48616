"""The log of a run: one JSON object a line in ``log.jsonl``, and TensorBoard beside it if wanted.

A killed process may leave half a line, and lines of steps that were never saved; a resumed run
first cuts the file back to the step that it goes on from, so that every step occurs once.
"""

from __future__ import annotations

import io
import json
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from adapter.errors import ConfigError
from featcache.storage.durable import finite, make_folders, write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class RunLog:
    """Appends records to ``log.jsonl``.

    Args:
        folder: The run's folder.
        resume_step: Keep the records up to this step; None starts an empty log.
        tensorboard: Also write numbers to ``folder/tensorboard``.

    Raises:
        ConfigError: TensorBoard was asked for and is not installed.
        DiskSpaceError, WriteError: The log cannot be written.
    """

    def __init__(
        self, folder: Path, *, resume_step: int | None = None, tensorboard: bool = False
    ) -> None:
        self.path = folder / "log.jsonl"
        events = EventFormat() if tensorboard else None
        kept = [] if resume_step is None else list(read_log(self.path, last_step=resume_step))
        write_bytes(self.path, "".join(_line(record) for record in kept).encode())
        self._lines = _Appended(self.path)
        self._events: tuple[EventFormat, _Appended] | None = None
        if events is not None:
            path = folder / "tensorboard" / events.file_name()
            make_folders(path.parent)
            write_bytes(path, events.start(resume_step))
            self._events = events, _Appended(path)

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record; numbers that are not finite become null.

        Raises:
            OSError: It cannot be written now. The file has no part of it, and it is written with
                the next record.
        """
        self._lines.waiting += _line(record).encode()
        if self._events is not None:
            events, file = self._events
            file.waiting += events.numbers(record)
        for appended in self._files():
            appended.write()

    def sync(self) -> None:
        """Make what was written so far survive a crash of the machine."""
        self._lines.sync()

    def close(self) -> None:
        """Write what is waiting, if that goes, and close."""
        for appended in self._files():
            with suppress(OSError):  # `append` has said that it cannot be written
                appended.write()
            appended.close()

    def _files(self) -> list[_Appended]:
        return [self._lines, *([self._events[1]] if self._events else [])]


class _Appended:
    """A file that grows by whole records.

    Attributes:
        waiting: What is to be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._size = os.fstat(self._file).st_size
        self.waiting = b""

    def write(self) -> None:
        """Write all that is waiting, or nothing."""
        rest = self.waiting
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, self._size)  # needs no space
            raise
        self._size += len(self.waiting)
        self.waiting = b""

    def sync(self) -> None:
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


class EventFormat:
    """What TensorBoard reads, as bytes.

    Its ``SummaryWriter`` writes from a thread of its own, which dies on a full disk with all that
    comes after it; what we write waits until there is space.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError as error:
            raise ConfigError(
                "TensorBoard is not installed; `pip install tensorboard`, or leave the option out "
                "(log.jsonl holds the same numbers)"
            ) from error
        self._event, self._writer = Event, RecordWriter

    def file_name(self) -> str:
        """Return a new name; TensorBoard reads the files of a folder in the order of names."""
        return f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}"

    def start(self, resume_step: int | None) -> bytes:
        """Begin a file; hide what a killed run wrote after the step that this one goes on from."""
        content = self._record(file_version="brain.Event:2")
        if resume_step is None:
            return content
        return content + self._record(step=resume_step + 1, session_log={"status": "START"})

    def numbers(self, record: Mapping[str, Any]) -> bytes:
        """Write the numbers of a record."""
        values = [{"tag": name, "simple_value": value} for name, value in _numbers(record)]
        return self._record(step=record["step"], summary={"value": values})

    def _record(self, **facts: Any) -> bytes:
        stream = io.BytesIO()
        event = self._event(wall_time=time.time(), **facts)
        self._writer(stream).write(event.SerializeToString())
        return stream.getvalue()


def read_log(path: Path, *, last_step: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield the records of a log, up to a step; a half-written last line is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if not line.endswith("\n"):
                return
            record: dict[str, Any] = json.loads(line)
            if last_step is not None and record["step"] > last_step:
                return
            yield record


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(finite(record), ensure_ascii=False, allow_nan=False) + "\n"


def _numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if isinstance(value, (int, float)) and name != "step":
            yield f"{record.get('kind', 'train')}/{name}", value

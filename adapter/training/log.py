"""The log of a run: one JSON object a line in ``log.jsonl``, and TensorBoard beside it if wanted.

A killed process may leave half a line, and lines of steps that were never saved; a resumed run
first cuts the file back to the step that it goes on from, so that every step occurs once.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from adapter.errors import ConfigError
from featcache.storage.durable import finite, write_bytes

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
        kept = [] if resume_step is None else list(read_log(self.path, last_step=resume_step))
        write_bytes(self.path, "".join(_line(record) for record in kept).encode())
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self._size = os.fstat(self._file).st_size
        self._waiting = b""
        self._board = _tensorboard_writer(folder, resume_step) if tensorboard else None

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record; numbers that are not finite become null.

        Raises:
            OSError: It cannot be written now. The file has no part of it, and it is written with
                the next record.
        """
        self._waiting += _line(record).encode()
        self._write()
        if self._board is not None:
            for name, value in _numbers(record):
                self._board.add_scalar(name, value, record["step"])

    def sync(self) -> None:
        """Make what was written so far survive a crash of the machine."""
        os.fsync(self._file)

    def close(self) -> None:
        """Write what is waiting, if that goes, and close."""
        with suppress(OSError):  # `append` has said that it cannot be written
            self._write()
        os.close(self._file)
        if self._board is not None:
            self._board.close()

    def _write(self) -> None:
        """Write all that is waiting, or nothing."""
        rest = self._waiting
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, self._size)  # needs no space
            raise
        self._size += len(self._waiting)
        self._waiting = b""


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


def _tensorboard_writer(folder: Path, resume_step: int | None) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "TensorBoard is not installed; `pip install tensorboard`, or leave the option out "
            "(log.jsonl holds the same numbers)"
        ) from error
    # purge_step hides what a killed run wrote after the step that this one goes on from.
    purge = None if resume_step is None else resume_step + 1
    return SummaryWriter(str(folder / "tensorboard"), purge_step=purge)

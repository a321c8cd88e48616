"""The log of a run: one JSON object a line in ``log.jsonl``, and TensorBoard beside it if wanted.

A killed process may leave half a line, and lines of steps that were never saved; a resumed run
first cuts the file back to the step that it goes on from, so that every step occurs once.
"""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any

from adapter.errors import ConfigError

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
    """

    def __init__(
        self, folder: Path, *, resume_step: int | None = None, tensorboard: bool = False
    ) -> None:
        self.path = folder / "log.jsonl"
        kept = [] if resume_step is None else list(read_log(self.path, last_step=resume_step))
        temporary = self.path.with_suffix(".jsonl.tmp")
        temporary.write_text("".join(_line(record) for record in kept), encoding="utf-8")
        temporary.replace(self.path)
        self._stream = self.path.open("a", encoding="utf-8")
        self._board = _tensorboard_writer(folder, resume_step) if tensorboard else None

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record; numbers that are not finite become null."""
        self._stream.write(_line(record))
        self._stream.flush()
        if self._board is not None:
            for name, value in _numbers(record):
                self._board.add_scalar(name, value, record["step"])

    def sync(self) -> None:
        """Make what was written so far survive a crash of the machine."""
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Flush and close."""
        self._stream.close()
        if self._board is not None:
            self._board.close()


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
    clean = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }
    return json.dumps(clean, ensure_ascii=False) + "\n"


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

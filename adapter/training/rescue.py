"""When a run's folder cannot be written to the end: nothing that was trained is thrown away."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from adapter.network.model import SETTINGS, WEIGHTS
from adapter.record import write_record
from adapter.training.checkpoint import reason, save_state
from adapter.training.parts import FOLDER
from featcache.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.stacking.stack import Stack
    from adapter.training.trainer import Trainer


def rescue(
    trainer: Trainer,
    record: Mapping[str, Any],
    error: OSError,
    stack: Stack | None,
    *,
    interrupted: bool,
) -> NoReturn:
    """Write the run to the system's folder for temporary files, and say where it is.

    Args:
        trainer: What was trained.
        record: ``run.json``.
        error: Why its own folder cannot be written.
        stack: What belongs to the adapter; None where there is none.
        interrupted: Whether the run has to go on, so that its state is needed.

    Raises:
        WriteError: Always; the message says what is where.
    """
    out = trainer.out
    failed = f"{out} could not be written to the end ({reason(error)})"
    place = None
    try:
        place = Path(tempfile.mkdtemp(prefix="adapter-run-"))
        if interrupted:
            save_state(
                place, trainer.model, trainer.optimizer, trainer.progress, record["settings"]
            )
        if trainer.progress.best_step is None or trainer.best is not None:
            trainer.save_adapter(place)
        else:
            for name in (WEIGHTS, SETTINGS):
                shutil.copyfile(out / name, place / name)
        if stack is not None:
            stack.save(place)
        if interrupted and (out / FOLDER).exists():
            shutil.copytree(out / FOLDER, place / FOLDER)
        write_record(place, record)
    except OSError as second:
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)  # half a run is none
        raise WriteError(
            f"{failed}, and neither could the folder for temporary files ({reason(second)}). "
            f"What was saved before is kept: free some space, then give the same command with "
            "--resume"
        ) from error
    if interrupted:
        raise WriteError(
            f"{failed}. Nothing is lost: the stopped run is in {place}; go on with the same "
            f"command, --out {place} and --resume"
        ) from error
    raise WriteError(
        f"{failed}. Nothing is lost: the finished run, with its weights, is in {place}; move it to "
        f"where there is space. `adapter eval {place}` works"
    ) from error

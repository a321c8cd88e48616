"""Start the processes of a training run on this machine, with torch's elastic launcher.

    launch([sys.executable, "-m", "cli.adapter", "train", ...], processes=4)

Each process finds its place in its environment, as under ``torchrun``. When one dies, the others
are stopped within seconds.
"""

from __future__ import annotations

import logging
import os
import signal
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adapter.errors import ProcessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

STOPPED = (
    130  # exit code of a process that a signal has asked to stop, and that has saved its state
)


def launched() -> bool:
    """Tell whether this is one of several processes that a launcher has started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(command: Sequence[str], processes: int) -> None:
    """Run a command in several processes that train together; returns when all have ended well.

    Args:
        command: Program and arguments.
        processes: How many.

    Raises:
        ProcessError: A process has failed or was killed; the message says which, and how.
        KeyboardInterrupt: A signal has asked to stop; the processes have saved their state.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.5,
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # we tell it shorter
    program, *arguments = command
    with _threads(processes):
        try:
            elastic_launch(config, program)(*arguments)
        except ChildFailedError as error:
            codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
            if set(codes.values()) == {STOPPED}:
                raise KeyboardInterrupt from error
            raise ProcessError(_told(codes)) from error
        except SignalException as error:
            raise KeyboardInterrupt from error


@contextmanager
def _threads(processes: int) -> Iterator[None]:
    """Share the processors between the processes, unless somebody has decided."""
    name = "OMP_NUM_THREADS"
    if name in os.environ:
        yield
        return
    os.environ[name] = str(max((os.cpu_count() or 1) // processes, 1))
    try:
        yield
    finally:
        del os.environ[name]


def _told(codes: Mapping[int, int]) -> str:
    """Say how a process has ended: one that was killed, rather than those that have missed it."""
    rank, code = min(codes.items(), key=lambda item: (item[1] >= 0, item[0]))
    if code >= 0:
        return f"process {rank} has ended with exit code {code}; what it said is above"
    name = signal.Signals(-code).name
    hint = ", perhaps by the system, which had no memory left" if name == "SIGKILL" else ""
    return f"process {rank} was ended by {name}{hint}"

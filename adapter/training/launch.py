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
    from collections.abc import Collection, Iterator, Mapping, Sequence

# Exit codes of processes:
STOPPED = 130  # that a signal has asked to stop, and that have saved their state
LOST = 4  # that have lost their connection to one that has ended
SOON = 10.0  # seconds; what ends after that, once the first has ended, was ended by the launcher


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
            first = min(failure.timestamp for failure in error.failures.values())
            soon = {
                rank: failure.exitcode
                for rank, failure in error.failures.items()
                if failure.timestamp <= first + SOON
            }
            if _stopped(soon.values()):
                raise KeyboardInterrupt from error
            raise ProcessError(_told(soon)) from error
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


def _stopped(codes: Collection[int]) -> bool:
    """Tell whether processes have ended since a signal has asked them to.

    The launcher sends SIGTERM to the others as soon as one has ended, and one that has saved its
    state may be about to leave.
    """
    return STOPPED in codes and set(codes) <= {STOPPED, -signal.SIGTERM}


def _told(codes: Mapping[int, int]) -> str:
    """Say how the process has ended that made the others end.

    Args:
        codes: Exit code of each process by its rank, those first that have ended first.
    """
    rank, code = min(codes.items(), key=lambda item: _consequence(item[1]))
    if code == LOST:
        return f"process {rank} has lost its connection to the others; what it said is above"
    if code >= 0:
        return f"process {rank} has ended with exit code {code}; what it said is above"
    name = signal.Signals(-code).name
    hint = ", perhaps by the system, which had no memory left" if name == "SIGKILL" else ""
    return f"process {rank} was ended by {name}{hint}"


def _consequence(code: int) -> int:
    """Order exit codes: what happens to a process by itself comes first, what follows from it last.

    The launcher ends those that are left by SIGTERM, which one that has lost its connection may
    get while it is leaving.
    """
    if code == -signal.SIGTERM or code == STOPPED:
        return 3
    if code == LOST:
        return 2
    return 0 if code < 0 else 1

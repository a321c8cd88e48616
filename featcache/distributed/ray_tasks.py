"""Independent pieces of work side by side, as tasks of Ray: cells of tables, runs of a sweep.

A piece must be one that can be begun again, and whose results are files: a task whose worker dies
is started again by Ray, and whoever runs this reads the files as if it had made them itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from featcache.configuration import Configuration
from featcache.distributed import ray_fleet
from featcache.distributed.settings import LOCAL
from featcache.errors import WorkersError
from featcache.stopping import StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RETRIES = 3  # times that a task is started again whose worker has died
WAIT = 0.5  # seconds between two looks at signals


@dataclass(frozen=True, kw_only=True)
class TaskConfig(Configuration):
    """Where tasks run, and what each takes.

    Attributes:
        address: As of ``ClusterConfig``.
        gpus_per_task: GPUs of each task, such as 0.25; tasks share a GPU.
        cpus_per_task: Processors of each.
    """

    _title: ClassVar[str] = "settings of the tasks"

    address: str = LOCAL
    gpus_per_task: float = 0.0
    cpus_per_task: int = 1


def run_tasks(
    function: Callable[..., None],
    arguments: Sequence[tuple[Any, ...]],
    config: TaskConfig,
    on_done: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Call a function with each of some arguments, on other processes; returns when all have ended.

    Args:
        function: A function of a module, whose results are files.
        arguments: Of each call.
        config: Where, and what each call takes.
        on_done: Called with the number of calls that have ended, and of all.

    Raises:
        WorkersError: The first error of a call; the others were made.
        KeyboardInterrupt: A signal; calls under way were asked to stop.
    """
    import ray

    with ray_fleet.connected(config.address), StopRequest() as stop:
        task = ray.remote(
            num_cpus=config.cpus_per_task, num_gpus=config.gpus_per_task, max_retries=RETRIES
        )(function)
        waiting = [task.remote(*one) for one in arguments]
        total, failed = len(waiting), []
        try:
            while waiting:
                ready, waiting = ray.wait(waiting, num_returns=1, timeout=WAIT)
                for ref in ready:
                    try:
                        ray.get(ref)
                    except ray.exceptions.RayError as error:
                        failed.append(_reason(error))
                    on_done(total - len(waiting), total)
                if stop.requested:
                    raise KeyboardInterrupt
        finally:
            for ref in waiting:
                ray.cancel(ref, force=False)
            if waiting:
                ray.wait(waiting, num_returns=len(waiting), timeout=60)
    if failed:
        raise WorkersError(
            f"{len(failed)} of {total} pieces of work failed; the first: {failed[0]}"
        )


def _reason(error: Exception) -> str:
    """Return the last line of what a task has raised."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__

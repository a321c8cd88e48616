"""The options that choose who works: this process, or workers of Ray."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import say
from cli.progress import working
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.progress import Progress
    from featcache.distributed.settings import ClusterConfig

EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="local: this process, on one device. ray: workers on all GPUs of this machine or of "
        "a cluster.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="With --engine ray: local starts Ray on this machine; auto joins the cluster that "
        "this machine belongs to; HOST:PORT joins the cluster with that head.  [default: local]",
        show_default=False,
    ),
]
Actors = Annotated[
    int | None,
    typer.Option(
        help="With --engine ray: number of workers.  [default: one per GPU; without GPUs, one per "
        "machine]",
        show_default=False,
    ),
]
GpusPerActor = Annotated[
    float | None,
    typer.Option(
        help="With --engine ray: GPUs per worker, such as 1 or 0.5.  [default: 1 if there are "
        "GPUs, else 0]",
        show_default=False,
    ),
]
CpusPerActor = Annotated[
    int | None,
    typer.Option(
        help="With --engine ray: CPU cores per worker, for decoding.  [default: an equal share "
        "of the machine]",
        show_default=False,
    ),
]
Patience = Annotated[
    float | None,
    typer.Option(
        help="With --engine ray: a worker that makes no progress for this many seconds is "
        "stopped, and another worker takes its shard.  [default: 300]",
        show_default=False,
    ),
]


def on_ray(engine: str, **options: Any) -> ClusterConfig | None:
    """Return the settings of Ray's workers; None for this process.

    Args:
        engine: ``local`` or ``ray``.
        **options: Fields of ``ClusterConfig``, None where nobody has given them.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if engine == "ray":
        from featcache.distributed.settings import ClusterConfig

        return ClusterConfig.build(**given)
    if engine != "local":
        raise typer.BadParameter(f"--engine {engine}: expected local or ray")
    if given:
        flag = next(iter(given)).replace("_", "-")
        raise typer.BadParameter(f"--{flag} is for workers of Ray: give --engine ray as well")
    return None


@contextmanager
def connection(cluster: ClusterConfig, precision: str) -> Iterator[str]:
    """Be connected to Ray; gives the precision of its workers, ``auto`` resolved for them."""
    from featcache.distributed.ray_fleet import connected, room
    from featcache.distributed.settings import LOCAL

    with ExitStack() as stack:
        with working("starting Ray" if cluster.address == LOCAL else "connecting to Ray"):
            stack.enter_context(connected(cluster.address))
        place = room(cluster)
        gpus = f"{place.gpus:g} {'GPU' if place.gpus <= 1 else 'GPUs'} and " if place.gpus else ""
        later = f"; {place.fit:,} have room now" if place.fit < place.actors else ""
        cores = quantity(place.cpus, "CPU core")
        say(f"Ray: {quantity(place.actors, 'worker')}, each with {gpus}{cores}{later}")
        # This machine may have no GPU: it cannot ask one of them what it can do.
        yield ("bf16" if place.gpus else "fp32") if precision == "auto" else precision


TaskEngine = Annotated[
    str,
    typer.Option(
        "--engine",
        help="local: one after the other in this process. ray: in parallel, as Ray tasks.",
    ),
]
GpusPerTask = Annotated[
    float | None,
    typer.Option(
        help="With --engine ray: GPUs per task, such as 0.25 for four tasks on one GPU.  "
        "[default: 0]",
        show_default=False,
    ),
]
CpusPerTask = Annotated[
    int | None,
    typer.Option(help="With --engine ray: CPU cores per task.  [default: 1]", show_default=False),
]


def side_by_side(display: Progress, what: str, engine: str, **options: Any) -> Any:
    """Return what runs pieces of work as tasks of Ray; None for one after the other.

    Args:
        display: Shows how many are done.
        what: What they are, for people.
        engine: ``local`` or ``ray``.
        **options: Fields of ``TaskConfig``, None where nobody has given them.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if engine != "ray":
        on_ray(engine, **given)  # says what is wrong
        return None
    from featcache.distributed.ray_tasks import TaskConfig, run_tasks

    config = TaskConfig.build(**given)

    def show(done: int, total: int) -> None:
        display.show(what, done, total, unit="tasks")

    return lambda function, arguments: run_tasks(function, arguments, config, show)

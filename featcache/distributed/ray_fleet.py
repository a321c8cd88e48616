"""Workers as actors of Ray Core: one process each, on the GPUs and machines of a cluster.

An actor that dies is started again by Ray, where there is room for it (``max_restarts=-1``); what
it was told is told again by the driver, never by Ray. Nothing large passes through Ray: orders are
names of images, answers are receipts.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featcache.distributed.fleet import Fleet, Lost, Made, Proven, Pulse, Refused, Troubled
from featcache.distributed.messages import Hello, Refusal, Trouble
from featcache.distributed.settings import LOCAL
from featcache.distributed.worker import Worker
from featcache.errors import ConfigError
from featcache.stopping import handlers_kept

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise ConfigError(
        "--engine ray needs Ray, which is not installed: pip install 'featcache[ray]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from featcache.distributed.fleet import Event
    from featcache.distributed.messages import Challenge, Order
    from featcache.distributed.settings import ClusterConfig
    from featcache.distributed.worker import Tools

STORE = 100 << 20  # bytes of shared memory for a Ray of our own: almost nothing is put there
STARTS = 3  # times that a Ray of our own may fail to start
PULSE = 2.0  # seconds between two questions for a sign of work
AGAIN = 1.0  # seconds before a worker that cannot be reached is asked again


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the cluster has room for.

    Attributes:
        actors: Workers that were asked for, or that fit.
        fit: Workers that fit now.
        gpus: Of each.
        cpus: Of each.
    """

    actors: int
    fit: int
    gpus: float
    cpus: int


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be a driver of a Ray cluster, or of one that is started here and ends with the context.

    Raises:
        ConfigError: There is no cluster at the address.
    """
    if ray.is_initialized():  # by the program that calls us
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    with handlers_kept():
        _connect(address)
    # Whatever we ask, Ray prints what became of its processes to standard output, where results
    # go. This is the switch by which its debugger keeps them away.
    ray._private.worker._worker_logs_enabled = False
    try:
        yield
    finally:
        with handlers_kept():
            ray.shutdown()


def _connect(address: str) -> None:
    """Connect; a Ray that starts here is tried again, as on a busy machine its start times out."""
    here = address == LOCAL
    given: dict[str, Any] = {"object_store_memory": STORE} if here else {}
    given |= {"include_dashboard": False} if here else {}
    for tries_left in reversed(range(STARTS if here else 1)):
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                namespace="featcache",
                **given,
            )
        except Exception as error:  # Ray raises them of this class too
            ray.shutdown()
            if tries_left:
                continue
            advice = (
                "see its logs in /tmp/ray/session_latest/logs"
                if here
                else "start one with `ray start --head`, or give --address local"
            )
            raise ConfigError(
                f"--address {address}: no Ray answers ({_first_line(str(error))}); {advice}"
            ) from error
        else:
            return


def room(cluster: ClusterConfig) -> Room:
    """Find out how many workers there are to be, and how large each is.

    Raises:
        ConfigError: Not one fits on any machine.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    gpus = [float(node.get("GPU", 0)) for node in nodes]
    each = cluster.gpus_per_actor
    if each is None:
        each = 1.0 if any(gpus) else 0.0
    if each:
        shares = [int(c // max(g // each, 1)) for c, g in zip(cpus, gpus, strict=True) if g >= each]
    else:
        shares = [c for c in cpus if c]
    size = cluster.cpus_per_actor or max(min(shares, default=1), 1)
    fit = sum(
        int(min(c // size, g // each if each else c // size))
        for c, g in zip(cpus, gpus, strict=True)
    )
    if not fit:
        raise ConfigError(
            f"no machine of the cluster has {each:g} GPUs and {size} processors for a worker "
            f"(they have {max(gpus, default=0):g} and {max(cpus, default=0)} at most): give "
            "--gpus-per-actor and --cpus-per-actor"
        )
    actors = cluster.actors or fit
    return Room(actors=actors, fit=min(fit, actors), gpus=each, cpus=size)


class _Actor(Worker):
    """A worker that Ray runs; on top of it, where it is, so that it can be killed from outside."""

    def place(self) -> tuple[str, int]:
        """Return the node's id and the process's."""
        return ray.get_runtime_context().get_node_id(), os.getpid()


def _kill(pid: int) -> None:
    """Kill a process of this machine: one that is frozen does not listen to Ray."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class RayFleet(Fleet):
    """Actors of Ray."""

    def __init__(self, tools: Tools, place: Room, challenge: Challenge) -> None:
        """Start them; each begins to prove."""
        self.size, self.ready = place.actors, place.fit
        self._challenge = challenge
        self._events: deque[Event] = deque()
        # What is asked and not answered yet: (worker, what). Answers of a process that was given
        # up are forgotten with it.
        self._asked: dict[Any, tuple[int, str]] = {}
        self._places: dict[int, tuple[str, int]] = {}
        self._pulsed: dict[int, float] = {}
        self._later: list[tuple[float, int]] = []  # when to ask a worker again to prove
        actor = ray.remote(
            num_cpus=place.cpus,
            num_gpus=place.gpus,
            max_restarts=-1,
            concurrency_groups={"make": 2, "talk": 1},
        )(_Actor)
        self._actors = [actor.remote(tools) for _ in range(place.actors)]
        for worker in range(place.actors):
            self._prove(worker)

    def give(self, worker: int, order: Order) -> None:
        """Give an order to a worker that has proven."""
        make = self._actors[worker].make.options(concurrency_group="make")
        self._asked[make.remote(order)] = (worker, "make")

    def replace(self, worker: int, reason: str) -> None:
        """Kill a worker's process, through Ray and, where it does not listen, by a signal."""
        node, pid = self._places[worker]
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        kill = ray.remote(_kill).options(num_cpus=0, scheduling_strategy=here, max_retries=0)
        with suppress(RayError):  # a machine that is gone has taken its process along
            ray.wait([kill.remote(pid)], timeout=AGAIN)
        ray.kill(self._actors[worker], no_restart=False)
        self._lose(worker, reason, blamed=True)

    def wait(self, seconds: float) -> Sequence[Event]:
        """Return what has happened; wait for something as long as that."""
        self._ask()
        if self._asked and not self._events:
            refs = list(self._asked)
            ready, _ = ray.wait(refs, num_returns=1, timeout=seconds)
            if ready:
                ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
            for ref in ready:  # in the order in which they were asked
                if ref in self._asked:  # else its worker was lost a moment ago
                    worker, what = self._asked.pop(ref)
                    self._answer(worker, what, ref)
        elif not self._events:
            time.sleep(seconds)
        events = list(self._events)
        self._events.clear()
        return events

    def close(self) -> None:
        """Stop all workers, whatever they do."""
        for actor in self._actors:
            ray.kill(actor)
        self._asked.clear()

    def _prove(self, worker: int) -> None:
        """Ask a worker where it is, and to prove; they wait until Ray has started it."""
        actor = self._actors[worker]
        self._asked[actor.place.options(concurrency_group="talk").remote()] = (worker, "place")
        prove = actor.prove.options(concurrency_group="make")
        self._asked[prove.remote(self._challenge)] = (worker, "prove")

    def _ask(self) -> None:
        """Ask for signs of work, and those again that could not be reached."""
        now = time.monotonic()
        due = [worker for when, worker in self._later if when <= now]
        self._later = [(when, worker) for when, worker in self._later if when > now]
        for worker in due:
            self._prove(worker)
        for worker, before in self._pulsed.items():
            if now - before >= PULSE:
                self._pulsed[worker] = float("inf")  # until it has answered
                pulse = self._actors[worker].pulse.options(concurrency_group="talk")
                self._asked[pulse.remote()] = (worker, "pulse")

    def _answer(self, worker: int, what: str, ref: Any) -> None:
        """Turn an answer into an event."""
        try:
            value = ray.get(ref)
        except RayTaskError as error:  # our code, or torch's, has failed in a way nobody foresaw
            reason = _last_line(error)
            if what == "make" and worker in self._places:
                self.replace(worker, reason)
            else:
                self._lose(worker, reason, blamed=True)
            return
        except RayError as error:
            # Of an actor that is to come back, Ray says only that it cannot be reached. Where its
            # machine is known to have gone, no order is the cause.
            self._lose(worker, _first_line(str(error)), blamed=self._machine_is_there(worker))
            return
        if what == "place":
            self._places[worker] = value
        elif what == "pulse":
            self._pulsed[worker] = time.monotonic()
            self._events.append(Pulse(worker, value))
        elif isinstance(value, Hello):
            self._pulsed[worker] = time.monotonic()
            self._events.append(Proven(worker, value))
        elif isinstance(value, Refusal):
            self._events.append(Refused(worker, value))
        elif isinstance(value, Trouble):
            self._events.append(Troubled(worker, value))
        else:
            self._events.append(Made(worker, value))

    def _machine_is_there(self, worker: int) -> bool:
        """Tell whether the machine of a worker is alive, as far as Ray knows by now."""
        if worker not in self._places:
            return True
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        return self._places[worker][0] in alive

    def _lose(self, worker: int, reason: str, *, blamed: bool) -> None:
        """Forget what a worker was asked, and ask its next process to prove."""
        self._asked = {ref: asked for ref, asked in self._asked.items() if asked[0] != worker}
        self._pulsed.pop(worker, None)
        self._places.pop(worker, None)
        self._events.append(Lost(worker, reason, blamed))
        self._later.append((time.monotonic() + AGAIN, worker))


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "its process died"


def _last_line(error: RayTaskError) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else "it failed"

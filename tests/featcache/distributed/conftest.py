"""Virtual workers behind the engine's own interface: real shards, made in this process, on demand.

A worker makes what it is told when the driver waits. A plan says what goes otherwise: who dies at
which order, who freezes, who comes late.
"""

from __future__ import annotations

import gc
import warnings
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from featcache.distributed.driver import Driver
from featcache.distributed.fleet import Fleet, Lost, Made, Proven, Pulse, Refused, Troubled
from featcache.distributed.messages import Hello, Refusal, Trouble
from featcache.distributed.proof import answer, challenge
from featcache.distributed.worker import Tools, Worker
from featcache.stopping import StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from featcache.distributed.fleet import Event
    from featcache.distributed.messages import Order
    from featcache.extraction.counting import Counting
    from featcache.extraction.engine import Job


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Virtual(Fleet):
    """Workers of this process; each wait makes one order per worker that is well."""

    def __init__(self, worker: Worker, asked, size: int, clock: Clock, plan: Plan) -> None:
        self.size, self.ready = size, size
        self.worker, self.asked, self.clock, self.plan = worker, asked, clock, plan
        self.orders: dict[int, deque[Order]] = {n: deque() for n in range(size)}
        self.events: deque[Event] = deque()
        self.frozen: set[int] = set()
        self.given: list[tuple[int, int, int]] = []  # worker, shard, attempt
        self.closed = False
        for n in range(size):
            self._prove(n)

    def _prove(self, n: int) -> None:
        if refusal := self.plan.refusals.get(n):
            self.events.append(Refused(n, Refusal(host=f"node{n}", reason=refusal)))
            return
        file = answer(self.asked, self.worker.tools.root, self.worker.tools.out, None)
        assert isinstance(file, str)
        # Each worker has a file of its own, as processes have.
        path = self.worker.tools.out / "shards" / file
        path = path.rename(path.with_name(path.name.replace(".0.tmp", f".{n + 1}.tmp")))
        self.events.append(
            Proven(n, Hello(host=f"node{n}", pid=n, device=f"device{n % 2}", answer=path.name))
        )

    def give(self, worker: int, order: Order) -> None:
        self.given.append((worker, order.number, order.attempt))
        self.orders[worker].append(order)

    def replace(self, worker: int, reason: str) -> None:
        self.frozen.discard(worker)
        self.die(worker, reason)

    def die(self, worker: int, reason: str, *, blamed: bool = True) -> None:
        self.plan.late += [(worker, order) for order in self.orders[worker] if self.plan.thaw]
        self.orders[worker].clear()
        self.events.append(Lost(worker, reason, blamed))
        self._prove(worker)

    def wait(self, seconds: float) -> Sequence[Event]:
        self.clock.now += seconds
        for n, orders in self.orders.items():
            if orders and n not in self.frozen and not self.events:
                order = orders[0]
                match self.plan.fate(n, order):
                    case "die":
                        self.die(n, f"shard {order.number} has killed it")
                        continue
                    case "gone":
                        self.die(n, "its node died", blamed=False)
                        continue
                    case "freeze":
                        self.frozen.add(n)
                        continue
                orders.popleft()
                self._make(n, order)
        self.events.extend(Pulse(n, 0) for n in self.orders if n not in self.frozen)
        found = list(self.events)
        self.events.clear()
        return found

    def _make(self, n: int, order: Order) -> None:
        made = self.worker.make(order)
        self.events.append(Troubled(n, made) if isinstance(made, Trouble) else Made(n, made))
        if self.plan.after:
            self.plan.after(self)
        while self.plan.late and self.plan.thaw:
            late, again = self.plan.late.pop()
            receipt = self.worker.make(again)
            self.events.append(Made(late, receipt))

    def close(self) -> None:
        self.closed = True


@dataclass
class Plan:
    """What goes otherwise in a run.

    Attributes:
        fate: Says of a worker and its order: die, gone, freeze, or None.
        refusals: Why a worker must not work.
        thaw: Whether what a lost worker held is made all the same, later.
        after: Called after each shard.
    """

    fate: Callable[[int, Order], str | None] = lambda *_: None
    refusals: dict[int, str] = field(default_factory=dict)
    thaw: bool = False
    after: Callable[[Virtual], None] | None = None
    late: list[tuple[int, Order]] = field(default_factory=list)


@dataclass
class VirtualEngine:
    """An engine of an extraction whose workers are virtual."""

    plan: Plan = field(default_factory=Plan)
    workers: int = 3
    patience: float = 60.0
    fleet: Virtual | None = None
    driver: Driver | None = None

    def __call__(self, job: Job, run: Counting):
        if not job.chunks:
            return
        clock = Clock()
        tools = Tools(
            root=job.root,
            out=job.out,
            folder=Path.cwd(),
            manifest=job.manifest,
            backbone=job.backbone.spec,
            device="cpu",
            precision=job.backbone.precision,
            batch_size=job.batch_size,
            workers=1,
            threads=1,
        )
        worker = Worker(tools)
        worker.start(job.backbone)
        with StopRequest() as stop, challenge(job) as asked:
            self.fleet = Virtual(worker, asked, self.workers, clock, self.plan)
            try:
                self.driver = Driver(
                    self.fleet, job, run, asked, patience=self.patience, stop=stop, clock=clock
                )
                self.driver.loop()
            finally:
                self.fleet.close()


@contextmanager
def quietly_collected():
    """Collect what Ray leaves: it does not wait for its processes, and Python warns of that."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture(scope="module")
def ray():
    """A small Ray of this file's own."""
    from featcache.distributed.ray_fleet import connected

    with quietly_collected(), connected("local"):
        import ray

        yield ray


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster: a head without room for workers, and a node with room for two."""
    from ray.cluster_utils import Cluster

    from featcache.distributed.ray_fleet import connected

    store = {"object_store_memory": 80 << 20}
    with quietly_collected():
        cluster = persistent(
            lambda: Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **store})
        )
        persistent(lambda: cluster.add_node(num_cpus=2, **store))
        with connected(cluster.address):
            yield cluster
        cluster.shutdown()


def persistent(start, tries=4):
    """Start something of Ray, which gives up after 30 seconds on a machine that is busy."""
    for left in reversed(range(tries)):
        try:
            return start()
        except Exception:
            if not left:
                raise
    raise AssertionError


@pytest.fixture(scope="session")
def virtual():
    """The classes above, for tests of this folder."""
    return SimpleNamespace(Plan=Plan, Engine=VirtualEngine)

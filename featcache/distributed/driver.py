"""The driver: hands out shards, takes receipts, and stays right when workers come and go.

A shard is an idempotent piece of work, so whatever happens to a worker, its orders are given out
again. The driver alone gives files their final names: a second copy of a shard that is done,
however late it comes, is dropped. A shard that has taken three workers down with it is set aside.
It knows nothing of Ray.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featcache.distributed.fleet import Lost, Made, Proven, Pulse, Refused, Troubled
from featcache.distributed.messages import Order
from featcache.distributed.proof import confirm
from featcache.errors import WorkersError
from featcache.storage.durable import explained, fsync_path
from featcache.storage.layout import SHARDS, shard_name
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from featcache.distributed.fleet import Event, Fleet
    from featcache.distributed.messages import Challenge, Receipt, Refusal
    from featcache.errors import FeatcacheError
    from featcache.extraction.counting import Counting
    from featcache.extraction.engine import Job
    from featcache.stopping import StopRequest

IN_FLIGHT = 2  # orders of a worker: one goes through the backbone, the next is decoded
DEATHS = 3  # workers that a shard may take down
STARTS = 3  # times that a worker may die before it has proven
WAIT = 0.5  # seconds between two looks at signals and at silent workers
SYNC = 1.0  # seconds at most until the names of shards are on the disk
BARRIER = 60.0  # seconds to wait for all workers that have room, before the first order
LONELY = 30.0  # seconds without any worker after which people are told


@dataclass
class Tally:
    """What a device has made."""

    images: int = 0
    began: float = 0.0
    ended: float = 0.0

    @property
    def rate(self) -> float:
        """Images per second, from its first order to its last receipt."""
        seconds = self.ended - self.began
        return self.images / seconds if seconds > 0 else 0.0


class Driver:
    """One run of a job on a fleet."""

    def __init__(
        self,
        fleet: Fleet,
        job: Job,
        run: Counting,
        challenge: Challenge,
        *,
        patience: float,
        stop: StopRequest,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin; nothing is given out before `loop`.

        Args:
            fleet: The workers.
            job: What there is to make.
            run: The counters of the extraction.
            challenge: What workers had to answer.
            patience: Seconds without a sign of work after which a worker is replaced.
            stop: Set when a signal asks to end: orders under way are finished.
            clock: Seconds.
        """
        self.fleet, self.job, self.run, self.challenge = fleet, job, run, challenge
        self.patience, self.stop, self.clock = patience, stop, clock
        self.waiting = deque(sorted(job.chunks))
        self.suspects: deque[int] = deque()  # given alone, so that the guilty one is known
        self.made: set[int] = set()
        self.aside: dict[int, str] = {}
        self.attempts: Counter[int] = Counter()
        self.deaths: Counter[int] = Counter()
        self.starts: Counter[int] = Counter()
        self.devices: dict[int, str] = {}  # of the workers that are there
        self.names: dict[int, str] = {}  # of the devices of all that were ever there
        self.left_out: dict[int, str] = {}
        self.held: dict[int, list[Order]] = {}
        self.moved: dict[int, float] = {}  # when a worker last gave a sign of work
        self.images: dict[int, int] = {}  # that a worker has settled, as it said last
        self.settled: dict[int, int] = {}  # of those, in shards that are done
        self.tallies: dict[str, Tally] = {}
        self.error: FeatcacheError | None = None
        self.began = self.lonely = self.synced = clock()
        self.looked = float("-inf")  # when silent workers and counters were last looked at
        self.named = False  # whether shards have got their names since
        self.open = False  # whether orders are given out
        self.roomy: set[int] = set()  # workers that hold fewer orders than they may

    def loop(self) -> None:
        """Make everything.

        Raises:
            WorkersError: A shard was set aside, or no worker is left that may work.
            KeyboardInterrupt: A signal has asked to stop; what was under way is finished.
            FeatcacheError: A worker could not write, or too many images have failed.
        """
        while self._unfinished():
            self._give_out()
            for event in self.fleet.wait(WAIT):
                self._handle(event)
            # What follows looks at all workers, or waits for the disk: not for each shard.
            now = self.clock()
            if self.named and now - self.synced >= SYNC:
                self._sync()
            if now - self.looked >= WAIT:
                self.looked = now
                self._watch()
                self._tell()
        if self.named:
            self._sync()
        self.run.under_way = 0
        self.run.rates = {device: tally.rate for device, tally in self.tallies.items()}
        if self.error is not None:
            raise self.error
        if self._stopping and self._left:
            raise KeyboardInterrupt
        if self.aside:
            raise WorkersError(self._set_aside())

    @property
    def _stopping(self) -> bool:
        return self.stop.requested or self.error is not None

    @property
    def _left(self) -> int:
        return len(self.job.chunks) - len(self.made) - len(self.aside)

    def _unfinished(self) -> bool:
        if self._stopping:
            return any(self.held.values())
        return self._left > 0

    def _give_out(self) -> None:
        """Give orders to all workers that have room for them."""
        if not self.open:
            enough = len(self.devices) >= self.fleet.ready
            self.open = enough or (bool(self.devices) and self.clock() - self.began >= BARRIER)
        if not self.open or self._stopping or not (self.suspects or self.waiting):
            return
        for worker in sorted(self.roomy):
            while (number := self._next_for(self.held[worker])) is not None:
                self.attempts[number] += 1
                order = Order(
                    number=number,
                    attempt=self.attempts[number],
                    images=tuple(self.job.chunks[number]),
                    changes=self.job.changes.get(number, ()),
                )
                if not self.held[worker]:
                    self.moved[worker] = self.clock()
                self.held[worker].append(order)
                tally = self.tallies.setdefault(self.devices[worker], Tally())
                tally.began = tally.began or self.clock()
                self.fleet.give(worker, order)
            if len(self.held[worker]) >= IN_FLIGHT:
                self.roomy.discard(worker)

    def _next_for(self, held: list[Order]) -> int | None:
        """Choose a shard for a worker that holds some; None where it should get no other."""
        for queue in (self.suspects, self.waiting):
            while queue and queue[0] in self.made:  # by a worker that was thought dead
                queue.popleft()
        if self.suspects and not held:
            return self.suspects.popleft()
        alone = any(self.deaths[order.number] for order in held)
        if self.waiting and not alone and len(held) < IN_FLIGHT:
            return self.waiting.popleft()
        return None

    def _handle(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case Proven():
                self._welcome(event)
            case Refused():
                self._refuse(event.worker, event.refusal)
            case Made():
                self._take(event.worker, event.receipt)
            case Troubled():
                self.error = self.error or event.trouble.error()
                self.held[event.worker] = []
            case Lost():
                self._lose(event)
            case Pulse():
                if event.images != self.images.get(event.worker):
                    self.images[event.worker] = event.images
                    self.moved[event.worker] = self.clock()

    def _welcome(self, event: Proven) -> None:
        worker, hello = event.worker, event.hello
        if not confirm(self.challenge, self.job.out, hello.answer):
            differs = f"writes to another {self.job.out}: mount the same folder there"
            self._leave_out(worker, f"{hello.host} {differs}")
            return
        self.starts[worker] = 0
        self.devices[worker] = self.names[worker] = hello.device
        self.held[worker] = []
        self.roomy.add(worker)
        self.images[worker] = self.settled[worker] = 0

    def _refuse(self, worker: int, refusal: Refusal) -> None:
        self._leave_out(worker, f"{refusal.host} {refusal.reason}")

    def _leave_out(self, worker: int, reason: str) -> None:
        """Do without a worker; before the first shard, and without any other, that is an error."""
        self.left_out[worker] = reason
        if not self.open or len(self.left_out) == self.fleet.size:
            self.error = self.error or WorkersError(reason)
        else:
            self.run.report("note", text=f"a worker is left out: {reason}")

    def _take(self, worker: int, receipt: Receipt) -> None:
        """Give a shard its final name; drop it where the shard is done."""
        number = receipt.number
        holds = self.held.get(worker, [])
        self.held[worker] = [order for order in holds if order.number != number]
        if worker in self.devices:
            self.roomy.add(worker)
        self.moved[worker] = self.clock()
        self.settled[worker] = self.settled.get(worker, 0) + receipt.images
        staged = self.job.out / SHARDS / receipt.file
        if number in self.made:
            staged.unlink(missing_ok=True)
            return
        final = self.job.out / shard_name(number)
        with explained(final):
            if _size(staged) != receipt.entry.bytes:
                staged.unlink(missing_ok=True)
                self._again([number], f"its file {staged.name} did not arrive whole")
                return
            staged.replace(final)
        self.named = True
        self.made.add(number)
        self.aside.pop(number, None)
        device = self.names[worker]
        tally = self.tallies[device]
        tally.images += receipt.images
        tally.ended = self.clock()
        self.run.receipt(number, receipt.entry, device, receipt.images, receipt.failures)

    def _lose(self, event: Lost) -> None:
        """Put the orders of a worker back; set aside what has killed too many."""
        worker = event.worker
        proven = self.devices.pop(worker, None) is not None
        self.roomy.discard(worker)
        numbers = [order.number for order in self.held.pop(worker, [])]
        if not proven:
            self.starts[worker] += 1
            if self.starts[worker] >= STARTS:
                self._leave_out(
                    worker, f"a worker died {STARTS} times at its start: {event.reason}"
                )
            return
        if event.blamed:
            self._again(numbers, event.reason)
        else:
            self.waiting.extendleft(reversed([n for n in numbers if n not in self.made]))
            self.run.retried += len(numbers)

    def _again(self, numbers: list[int], reason: str) -> None:
        """Give shards out again that may have killed their worker; alone, to know which has."""
        for number in numbers:
            if number in self.made:
                continue
            self.run.retried += 1
            self.deaths[number] += 1
            if self.deaths[number] >= DEATHS:
                self.aside[number] = reason
            else:
                self.suspects.append(number)

    def _sync(self) -> None:
        """Let the disk keep the names of the shards that are done."""
        with explained(self.job.out / SHARDS):
            fsync_path(self.job.out / SHARDS)
        self.synced, self.named = self.clock(), False

    def _watch(self) -> None:
        """Replace workers that hold orders and have not moved for too long."""
        for worker in list(self.devices):
            silent = self.clock() - self.moved.get(worker, self.clock())
            if self.held[worker] and silent > self.patience:
                self.fleet.replace(worker, f"it made nothing for {silent:.0f} s")

    def _tell(self) -> None:
        """Let people see how far it is."""
        now = self.clock()
        if self.devices:
            self.lonely = now
        elif now - self.lonely >= LONELY:
            self.lonely = now
            self.run.report("note", text="waiting for the first worker to be ready")
        under_way = sum(self.images[n] - self.settled[n] for n in self.devices if self.held[n])
        self.run.workers, self.run.under_way = len(self.devices), max(under_way, 0)
        self.run.report("image")

    def _set_aside(self) -> str:
        """Name the shards that could not be made, why, and what to do."""
        lines = [f"\n  {shard_name(n)}: {reason}" for n, reason in sorted(self.aside.items())]
        return (
            f"not made: {quantity(len(lines), 'shard')}, because {DEATHS} workers died with each; "
            f"all others are made:{''.join(lines)}\nCheck the images of these shards and the "
            "memory of the workers; then the same command goes on with them"
        )


def _size(path: Path) -> int | None:
    """Return a file's size in bytes; None where there is no file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None

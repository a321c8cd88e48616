"""What a driver needs of its workers, whatever runs them: Ray's actors, or virtual ones in a test.

Workers have numbers from 0. Each begins to prove by itself, and again after it was lost and came
back. All that happens to them is an event.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from featcache.distributed.messages import Hello, Order, Receipt, Refusal, Trouble


@dataclass(frozen=True)
class Proven:
    """A worker is there and has answered the challenge."""

    worker: int
    hello: Hello


@dataclass(frozen=True)
class Refused:
    """A worker must not work; it does not come back."""

    worker: int
    refusal: Refusal


@dataclass(frozen=True)
class Made:
    """A worker has made a shard; ``order`` may be one that nobody waits for any more."""

    worker: int
    receipt: Receipt


@dataclass(frozen=True)
class Troubled:
    """A worker cannot make a shard, and neither could another."""

    worker: int
    trouble: Trouble


@dataclass(frozen=True)
class Lost:
    """A worker has died, with all orders that it held; another process takes its number.

    ``blamed`` tells whether an order may be the cause; where its machine has gone, none is.
    """

    worker: int
    reason: str
    blamed: bool = True


@dataclass(frozen=True)
class Pulse:
    """How many images a worker has settled so far."""

    worker: int
    images: int


Event: TypeAlias = Proven | Refused | Made | Troubled | Lost | Pulse


class Fleet(ABC):
    """Workers, by their numbers."""

    size: int  # how many there are, or may be
    ready: int  # how many of them have room now

    @abstractmethod
    def give(self, worker: int, order: Order) -> None:
        """Give an order to a worker that has proven."""

    @abstractmethod
    def replace(self, worker: int, reason: str) -> None:
        """Kill a worker's process; the event that it is lost follows at once."""

    @abstractmethod
    def wait(self, seconds: float) -> Sequence[Event]:
        """Return what has happened; wait for something as long as that."""

    @abstractmethod
    def close(self) -> None:
        """Stop all workers, whatever they do."""

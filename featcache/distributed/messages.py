"""What a driver and its workers tell each other: small plain values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import featcache.errors
from featcache.datasets.base import ImageRecord
from featcache.errors import FeatcacheError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from featcache.storage.changes import Change
    from featcache.storage.entries import FileEntry


@dataclass(frozen=True, kw_only=True)
class Order:
    """A shard to make.

    Attributes:
        number: The shard's.
        attempt: How often it was given out, this time included.
        images: The images planned for it.
        changes: What it says of images in earlier shards.
    """

    number: int
    attempt: int
    images: Sequence[ImageRecord]
    changes: Sequence[Change] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle images as plain tuples, in a tenth of the driver's time for an order."""
        images = tuple(map(_VALUES, self.images))
        return _order, (self.number, self.attempt, images, self.changes)


_VALUES = attrgetter(*(field.name for field in fields(ImageRecord)))


def _order(
    number: int, attempt: int, images: Sequence[tuple[Any, ...]], changes: Sequence[Change]
) -> Order:
    """Return the order that was pickled."""
    records = tuple(ImageRecord(*values) for values in images)
    return Order(number=number, attempt=attempt, images=records, changes=changes)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A shard that a worker has written under a name of its own; the driver gives it the final one.

    Attributes:
        number: The shard's.
        file: The file's name in the folder of shards.
        entry: What it holds.
        images: How many images were planned for it.
        failures: Path and reason of those that failed.
        seconds: From the worker's first look at the images to the file on the disk.
    """

    number: int
    file: str
    entry: FileEntry
    images: int
    failures: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a worker cannot make a shard, where it is not the shard's fault: a full disk, say."""

    kind: str
    message: str
    errno: int | None = None

    @classmethod
    def of(cls, error: FeatcacheError) -> Trouble:
        """Write an error down."""
        return cls(
            kind=type(error).__name__, message=str(error), errno=getattr(error, "errno", None)
        )

    def error(self) -> FeatcacheError:
        """Return the error again."""
        kind = getattr(featcache.errors, self.kind, FeatcacheError)
        raised: FeatcacheError = kind(self.message)
        if self.errno is not None and isinstance(raised, OSError):
            raised.errno = self.errno
        return raised


@dataclass(frozen=True, kw_only=True)
class Hello:
    """A worker that has proven to see what the driver sees.

    Attributes:
        host: Its machine's name.
        pid: Its process.
        device: What it computes with, in words.
        answer: Name of the file that it wrote into the folder of shards.
    """

    host: str
    pid: int
    device: str
    answer: str = ""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a worker must not work: what of this machine differs from the driver's, in words."""

    host: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """What a worker has to see as the driver does.

    Attributes:
        probe: Name of a file in the folder of shards.
        nonce: What stands in it.
        images: SHA-256 of a few image files by their paths; None where one cannot be read.
        backbone: Identity of the frozen model.
        versions: Of the packages that features depend on.
    """

    probe: str
    nonce: str
    images: Mapping[str, str | None]
    backbone: Mapping[str, Any]
    versions: Mapping[str, str]

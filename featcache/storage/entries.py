"""What cache.json says of each file, and of the share of a cache that one machine makes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from featcache.storage.durable import file_digest
from featcache.storage.layout import LABELS, PLANNED, PROMPTS, SAMPLES, is_shard

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DIGEST = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of the cache: its size, its XXH3-128, and, for a shard, its rows.

    ``live`` is how many of the rows readers see; None where they see all of them.
    """

    bytes: int
    xxh3_128: str
    rows: int | None = None
    live: int | None = None

    @property
    def num_live(self) -> int:
        """How many rows readers see."""
        return self.rows or 0 if self.live is None else self.live

    def with_live(self, count: int) -> FileEntry:
        """Return the entry of a shard of whose rows readers see so many."""
        return replace(self, live=None if count == self.rows else count)

    @classmethod
    def of(cls, path: Path, rows: int | None = None) -> FileEntry:
        """Read a file and describe it."""
        return cls(bytes=path.stat().st_size, xxh3_128=file_digest(path), rows=rows)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        facts = {"rows": self.rows, "live": self.live}
        there: dict[str, Any] = {name: n for name, n in facts.items() if n is not None}
        return {"bytes": self.bytes, "xxh3_128": self.xxh3_128, **there}


@dataclass(frozen=True, kw_only=True)
class Part:
    """Which share of a cache this is: every ``count``-th shard, from the ``index``-th (from 1).

    Attributes:
        index: From 1 to ``count``.
        count: Number of parts.
        images: Images of the whole that its first extraction planned, so that a merge knows how
            many shards there must be.
        listing: Digest of what the data set listed the last time: a merge takes parts that have
            seen the same. None in version 1.
    """

    index: int
    count: int
    images: int
    listing: str | None = None

    def __post_init__(self) -> None:
        """Refuse impossible parts."""
        if self.listing is not None and not DIGEST.fullmatch(self.listing):
            raise ValueError(f"{self.listing!r} is no digest")
        counts = (self.index, self.count, self.images)
        if not all(is_count(n) for n in counts) or not 1 <= self.index <= self.count:
            raise ValueError(f"there is no part {self.index!r} of {self.count!r}")

    def has(self, shard: int) -> bool:
        """Whether a shard belongs to this part."""
        return shard % self.count == self.index - 1

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        part: dict[str, Any] = {"index": self.index, "count": self.count, "images": self.images}
        return part if self.listing is None else {**part, "listing": self.listing}

    def __str__(self) -> str:
        """Return what ``--part`` takes."""
        return f"{self.index}/{self.count}"


def entry_of(name: str, value: Mapping[str, Any]) -> FileEntry:
    """Read the entry of a file; its name is one of ours, so that no path leads elsewhere."""
    entry = FileEntry(**value)
    shard = is_shard(name)
    if not shard and name not in (SAMPLES, LABELS, PROMPTS, PLANNED):
        raise ValueError(f"{name!r} is not a file of a cache")
    counts = (entry.bytes, entry.rows or 0, entry.num_live)
    if (
        shard != (entry.rows is not None)
        or (entry.live is not None and entry.num_live >= (entry.rows or 0))
        or not all(is_count(count) for count in counts)
        or not DIGEST.fullmatch(entry.xxh3_128)
    ):
        raise ValueError(f"{name}: impossible entry {value}")
    return entry


def is_count(value: Any) -> bool:
    """Tell whether a value is an integer that fits where numbers of rows and bytes are summed."""
    return type(value) is int and 0 <= value < 1 << 48

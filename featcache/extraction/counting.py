"""How far an extraction is: what callers are told, and when too many images have failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow.compute as pc

from featcache.errors import TooManyFailuresError
from featcache.extraction.checks import named
from featcache.storage.makers import note_maker
from featcache.storage.tables import changed, without_gone
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from featcache.extraction.growth import Growth
    from featcache.extraction.plan import ExtractConfig
    from featcache.extraction.work import Work
    from featcache.storage.entries import FileEntry
    from featcache.storage.records import SampleRecord


@dataclass(frozen=True, kw_only=True)
class ExtractEvent:
    """Something that a caller may want to show.

    Attributes:
        kind: ``compare`` (one more file of the data set is compared with the cache; ``done`` and
            ``total`` count files), ``start``, ``image`` (one more has features or has failed),
            ``shard`` (one more committed), ``note`` (``text`` is to be told), ``finish`` (tables
            and prompts are being written).
        done: Images done, those of finished shards included.
        failed: Images failed so far.
        total: Images planned.
        resumed: Images in shards of an earlier run.
        growth: At the start, how the data set differs from the cache; None for a first extraction.
        workers: Workers alive, where there are several processes.
        retried: Shards that were given out again.
        text: Of a note.
    """

    kind: Literal["compare", "start", "image", "shard", "note", "finish"]
    done: int
    failed: int
    total: int
    resumed: int
    growth: Growth | None = None
    workers: int = 0
    retried: int = 0
    text: str = ""


class Counting:
    """The counters of one extraction, and whom to tell."""

    def __init__(
        self,
        out: Path,
        config: ExtractConfig,
        on_event: Callable[[ExtractEvent], None] | None,
    ) -> None:
        self.out = out
        self.config = config
        self.on_event = on_event
        self.total = self.done = self.resumed = 0
        self.failures: list[tuple[str, str]] = []  # path and reason
        self.entries: dict[int, FileEntry] = {}
        self.under_way = self.workers = self.retried = 0
        self.rates: dict[str, float] = {}

    @property
    def failures_left(self) -> float:
        """How many images may fail yet."""
        return self.config.max_failures * self.total - len(self.failures)

    def compare(self, done: int, total: int) -> None:
        """Tell how many files of the data set are compared with the cache."""
        if self.on_event:
            self.on_event(ExtractEvent(kind="compare", done=done, failed=0, total=total, resumed=0))

    def report(
        self,
        kind: Literal["start", "image", "shard", "note", "finish"],
        growth: Growth | None = None,
        text: str = "",
    ) -> None:
        """Tell the caller where the run is."""
        if self.on_event:
            self.on_event(
                ExtractEvent(
                    kind=kind,
                    done=self.done + self.under_way,
                    failed=len(self.failures),
                    total=self.total,
                    resumed=self.resumed,
                    growth=growth,
                    workers=self.workers,
                    retried=self.retried,
                    text=text,
                )
            )

    def keep(self, work: Work) -> None:
        """Count what an earlier run has done."""
        there = without_gone(changed(work.samples, work.growth.changes))
        failed: Any = there.filter(pc.field("status") == "failed").select(["path", "error"])
        self.entries = dict(work.kept)
        self.done = self.resumed = there.num_rows
        self.total = self.resumed + len(work.growth.images)
        self.failures = [(line["path"], line["error"]) for line in failed.to_pylist()]
        self._check()

    def image(self, record: SampleRecord) -> None:
        """Count an image of this run."""
        self._count(record)
        self.report("image")

    def shard(self, number: int, entry: FileEntry, device: str) -> None:
        """Remember a shard that is on the disk, and what has made it."""
        self.entries[number] = entry
        note_maker(self.out, number, device)
        self.report("shard")

    def receipt(
        self,
        number: int,
        entry: FileEntry,
        device: str,
        images: int,
        failures: Sequence[tuple[str, str]],
    ) -> None:
        """Count a shard that another process has made, with all its images.

        Args:
            number: The shard's.
            entry: Of the shard, which is on the disk.
            device: What has made it.
            images: How many were planned for it.
            failures: Path and reason of those that failed.
        """
        self.done += images
        self.failures += failures
        self.shard(number, entry, device)
        self._check()

    def _count(self, record: SampleRecord) -> None:
        """Count an image; stop the run where too many have failed."""
        self.done += 1
        if record.error is not None:
            self.failures.append((record.path, record.error))
        self._check()

    def _check(self) -> None:
        """Stop the run where too many images have failed."""
        if self.failures_left < 0:
            raise TooManyFailuresError(
                f"failed: {len(self.failures):,} of {quantity(self.total, 'image')}, more than the "
                f"share of {self.config.max_failures:g} that --max-failures accepts:"
                f"{named(self.failures)}\nFinished shards are kept. Repair the images, or give a "
                "larger --max-failures; then the same command goes on. "
                f"`featcache info {self.out} --failures` lists the failures in finished shards"
            )

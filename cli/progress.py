"""What is told while a command works: bars in a terminal, a line every 30 seconds elsewhere.

    with progress() as display:
        display.show("extracting", 120, 2000, unit="images", note="3 failed")

Logs of a cluster and pipes are no terminal: there a bar would be nothing, or a mess.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from cli.console import duration, errors, say, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID

INTERVAL = 30.0  # seconds between two lines where there is no terminal


@dataclass(kw_only=True)
class Job:
    """Something that is counted while it is done.

    Attributes:
        name: What is being done, such as ``extracting``.
        unit: What is counted, such as ``images``; ``bytes`` are written as kB, MB and GB.
        before: What was done before this command began; it says nothing about the speed.
        done: What is done, ``before`` included.
        total: What there is to do; None where that is not known.
        note: What else to tell, such as the loss.
        started: When it began, in seconds of the monotonic clock.
    """

    name: str
    unit: str = ""
    before: float = 0
    done: float = 0
    total: float | None = None
    note: str = ""
    started: float = field(default_factory=time.monotonic)

    @property
    def counts(self) -> str:
        """How much is done: ``120 of 2,000 images``."""
        if self.total is None and not self.done:
            return ""
        parts = [self._number(self.done)]
        if self.total is not None:
            parts += ["of", self._number(self.total)]
        unit = self.unit.removesuffix("s") if (self.total or self.done) == 1 else self.unit
        return " ".join([*parts, *([unit] if self.unit not in ("", "bytes") else [])])

    @property
    def speed(self) -> float:
        """Units per second in this command; 0 where nothing is known yet."""
        seconds = time.monotonic() - self.started
        return (self.done - self.before) / seconds if seconds > 0 else 0.0

    @property
    def rate(self) -> str:
        """The speed for people: ``14.2 images/s``."""
        if not self.speed or not self.unit:
            return ""
        if self.unit == "bytes":
            return f"{size(self.speed)}/s"
        digits = 1 if self.speed >= 1 else 3
        return f"{self.speed:.{digits}f} {self.unit}/s"

    @property
    def left(self) -> str:
        """The time that is left at this speed."""
        if self.total is None or not self.speed or self.done >= self.total:
            return ""
        return f"{duration((self.total - self.done) / self.speed)} left"

    def line(self) -> str:
        """Everything in one line."""
        seconds = time.monotonic() - self.started
        passed = f"{duration(seconds)} so far" if seconds >= 1 and not self.left else ""
        facts = [self.counts, self.rate, self.left or passed, self.note]
        told = ", ".join(fact for fact in facts if fact)
        return f"{self.name}: {told}" if told else self.name

    def _number(self, value: float) -> str:
        return size(value) if self.unit == "bytes" else f"{int(value):,}"


class Progress(ABC):
    """Shows jobs, one after the other or side by side; each by its name."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    def show(
        self,
        name: str,
        done: float = 0,
        total: float | None = None,
        *,
        unit: str = "",
        note: str = "",
        before: float = 0,
    ) -> None:
        """Show a job, or where it is now; the arguments are the fields of `Job`."""
        new = name not in self.jobs
        job = self.jobs.setdefault(name, Job(name=name, unit=unit, before=before))
        job.done, job.total, job.unit, job.note = done, total, unit, note
        job.before = max(job.before, before)  # earlier work may be found while this command runs
        self.changed(job, new=new)

    def forget(self, name: str) -> None:
        """Let a job begin anew when it is shown again."""
        self.jobs.pop(name, None)

    @abstractmethod
    def changed(self, job: Job, *, new: bool) -> None:
        """Show a job that is new or has gone on."""

    @abstractmethod
    def __enter__(self) -> Self:
        """Begin to show."""

    @abstractmethod
    def __exit__(self, *error: object) -> None:
        """End."""


class Bars(Progress):
    """A bar for each job, on a terminal."""

    def __init__(self) -> None:
        from rich import progress

        super().__init__()
        self.tasks: dict[str, TaskID] = {}
        # User text is never markup: a file may be called [red] or :smile:.
        self.bars = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[facts]}", markup=False),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(elapsed_when_finished=False),
            console=errors(),
            refresh_per_second=4,
            speed_estimate_period=60,
        )

    def changed(self, job: Job, *, new: bool) -> None:
        """Move the job's bar."""
        if new:
            self.tasks[job.name] = self.bars.add_task(
                job.name, total=job.total, completed=int(job.before), facts=""
            )
        facts = "  ".join(fact for fact in (job.counts, job.rate, job.note) if fact)
        self.bars.update(self.tasks[job.name], completed=job.done, total=job.total, facts=facts)

    def forget(self, name: str) -> None:
        """Remove the job's bar."""
        super().forget(name)
        if name in self.tasks:
            self.bars.remove_task(self.tasks.pop(name))

    def __enter__(self) -> Self:
        """Begin to draw."""
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the last picture where it is."""
        self.bars.stop()


class Lines(Progress):
    """A line when a job begins, and one every `INTERVAL` seconds for the job at work."""

    def __init__(self) -> None:
        super().__init__()
        self.current: Job | None = None
        self.ended = threading.Event()
        self.clock = threading.Thread(target=self._tell, name="progress", daemon=True)

    def changed(self, job: Job, *, new: bool) -> None:
        """Tell of a new job at once."""
        self.current = job
        if new:
            say(job.line())

    def _tell(self) -> None:
        # A thread of its own, so that a slow batch does not look like a hanging program.
        while not self.ended.wait(INTERVAL):
            if self.current is not None:
                say(self.current.line())

    def __enter__(self) -> Self:
        """Start the clock."""
        self.clock.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the clock."""
        self.ended.set()
        self.clock.join()


def progress() -> Progress:
    """Return what suits standard error: bars on a terminal, lines elsewhere."""
    console = errors()
    return Bars() if console.is_terminal and not console.is_dumb_terminal else Lines()


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say what is being done where nothing can be counted."""
    from rich.text import Text

    console: Any = errors()
    if console.is_terminal and not console.is_dumb_terminal:
        with console.status(Text(what)):
            yield
        return
    with Lines() as lines:
        lines.show(what)
        yield

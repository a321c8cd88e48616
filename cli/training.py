"""What `adapter train` shows while it trains and at its end, and what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.console import duration, say
from featcache.wording import quantity

if TYPE_CHECKING:
    from pathlib import Path

    from adapter.settings import TrainEvent, TrainSummary
    from cli.progress import Progress

WORTH_SAYING = 60  # seconds that a run takes


def summarize(summary: TrainSummary, steps: int) -> None:
    """Say how a run ended."""
    done = f"{summary.steps:,} of {quantity(steps, 'step')} in {duration(summary.seconds)}"
    if summary.steps:
        each = 1000 * summary.seconds / summary.steps
        done += f" ({each:.0f} ms a step, {summary.images_per_second:.0f} images/s)"
    say(done)
    if summary.left_out:
        say(f"left out: {quantity(summary.left_out, 'label')} of images without features")
    if summary.interrupted:
        return
    if summary.best_step is not None:
        early = "stopped early; " if summary.stopped_early else ""
        say(f"{early}best validation {summary.best_value:.3f} at step {summary.best_step:,}")
    say(f"the adapter is in {summary.folder}")


def comes_next(folder: Path, caches: list[Path]) -> list[str | Path]:
    """Return what comes next: evaluating, or ranking where no label is kept for a test."""
    from adapter.data.selectors import known
    from adapter.stored import StoredRun, open_caches

    if "test" in known(open_caches(caches), "split"):
        return ["adapter", "eval", folder]
    (query, *_) = StoredRun.load(folder).queries
    words: list[str | Path] = ["--shards", caches[0], "--query", query]
    return ["adapter", "rank", folder, *words, "--out", folder / "ranked.html"]


class Display:
    """Shows training events; a run of several begins anew with each."""

    NAME = "training"

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.first = 0
        self.loss = ""

    def __call__(self, event: TrainEvent) -> None:
        """Show one event."""
        values = event.values
        if event.kind == "start":
            say(
                f"{quantity(values['images'], 'image')}, "
                f"{quantity(values['queries'], 'query', 'queries')}, "
                f"{quantity(values['labels'], 'label')}; "
                f"{quantity(values['parameters'], 'parameter')} on "
                f"{values['device']} ({values['precision']}), tokens from "
                f"{', '.join(values['source'])}"
            )
            self.progress.forget(self.NAME)
            self.first, self.loss = event.step, ""
        if event.kind == "note":
            say(f"note: {values['text']}")
        if event.kind == "estimate" and values["seconds"] >= WORTH_SAYING:
            say(
                f"{values['parameters'] / 1e6:.0f} M parameters on a CPU: about "
                f"{duration(values['step_seconds'])} a step, so about "
                f"{duration(values['seconds'])} for {quantity(event.steps - event.step, 'step')}; "
                f"faster: a smaller adapter, such as --width {max(values['width'] // 4, 32)}, or "
                "fewer --steps"
            )
        if event.kind == "step":
            self.loss = f"loss {values['loss']:.4f}"
        self.progress.show(
            self.NAME, event.step, event.steps, unit="steps", note=self.loss, before=self.first
        )
        if event.kind == "validation":
            parts = [f"{k} {v:.3f}" for k, v in values.items() if isinstance(v, float)]
            say(f"step {event.step:,}: validation {', '.join(parts)}")

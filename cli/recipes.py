"""What `adapter reproduce` and `adapter figure` share: their options, and what they show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import say

if TYPE_CHECKING:
    from adapter.reproduction.options import Event, Options
    from adapter.reproduction.recipe import Task
    from cli.progress import Progress
    from featcache.backbone.spec import BackboneSpec

CacheFolder = Annotated[
    Path | None, typer.Option("--cache", help="The folder of the caches.  [default: OUT/cache]")
]


def how_to_run(
    *,
    drawn: bool,
    device: str,
    precision: str,
    note: str,
    cache: Path | None,
    max_failures: float,
    backbone: str,
    pretrained: str,
    model_config: str | None,
    projection: str,
    token_pool: int,
) -> tuple[Options, BackboneSpec]:
    """Return how recipes are run and with which backbone, from what was asked for.

    On drawn stand-ins the backbone is the small CLIP, if no other is named, and the note says so.
    The one of drawn stand-ins, or one that is named, stands for every other that a recipe names.
    """
    from adapter.reproduction import miniatures
    from adapter.reproduction.options import Options
    from featcache.backbone.spec import BackboneSpec

    named = bool(backbone or pretrained or model_config)
    options = Options(
        device=device,
        precision=precision,
        note=" ".join([miniatures.NOTE] * drawn + [note] * bool(note)),
        cache=cache,
        max_failures=max_failures,
        same_model=drawn or named,
    )
    spec = BackboneSpec(
        name=miniatures.BACKBONE if drawn and not named else backbone,
        pretrained=pretrained,
        model_config=model_config,
        projection=projection,
        token_pool=token_pool,
    )
    return options, spec


def show_drawing(display: Progress, task: Task) -> None:
    """Say which data set is drawn now."""
    display.show(f"drawing a stand-in of {task.title}")


class Display:
    """Shows events: a job for each extraction, one for all cells."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.finished = self.cells = self.reused = 0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "note":
            say(event.text)
        elif event.kind == "extract":
            self.progress.show(f"extracting {event.text}", event.done, event.total, unit="images")
        elif event.kind == "cell":
            share = event.done / max(event.total, 1)
            self._cells(share, f"{event.text}: {event.done:,} of {event.total:,}")
        else:
            self.finished, self.cells = event.done, event.total
            self.reused += event.kind == "reused"
            self._cells(0.0, "")

    def _cells(self, share: float, step: str) -> None:
        """Show how many cells are done; those of earlier runs say nothing of the time left."""
        self.progress.show(
            "cells",
            self.finished + share,
            self.cells or None,
            unit="cells",
            note=step,
            before=self.reused,
        )

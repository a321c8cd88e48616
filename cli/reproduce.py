"""`adapter reproduce`: list recipes, or run one with progress, and say what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.backbone import (
    BackboneName,
    Device,
    ModelConfig,
    PrecisionOption,
    Pretrained,
    ProjectionOption,
    TokenPool,
)
from cli.console import fail, out, progress, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from adapter.reproduction.reproduce import Event, Reproduction

EXAMPLES = """Reproduce a table of the paper, baselines included, from one cache.

**Examples**

`adapter reproduce --list`

`adapter reproduce table1 --data /data --out runs/table1`

`adapter reproduce table1 --data /data --out runs/table1 --quick`

`adapter reproduce my_table.py --data /data --out runs/mine --only adapter --only ridge`

A stopped run goes on with the same command; finished cells are never computed again.
"""


def reproduce(
    recipe: Annotated[
        str, typer.Argument(help="A recipe's name, or a Python file.", show_default=False)
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="Show the recipes.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Folder that holds the data sets, such as DIR/adience.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for caches, cells and tables.")
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Few steps, for a check in minutes; not the reproduction.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Run only this row; give it several times.")
    ] = None,
    unaligned_text: Annotated[
        bool,
        typer.Option(
            "--unaligned-text",
            help="The backbone's text tower is not aligned with its images: leave out the "
            "methods that rest on it.",
        ),
    ] = False,
    note: Annotated[str, typer.Option(help="Said below the table.")] = "",
    keep_runs: Annotated[bool, typer.Option(help="Keep the trained adapters.")] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of the caches.  [default: OUT/cache]")
    ] = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    backbone: BackboneName = "",
    pretrained: Pretrained = "",
    model_config: ModelConfig = None,
    projection: ProjectionOption = "clip",
    token_pool: TokenPool = 1,
) -> None:
    """See EXAMPLES."""
    from adapter.recipes import load_recipe
    from featcache.backbone.spec import BackboneSpec

    if list_:
        show_list()
        return
    if not recipe:
        raise typer.BadParameter("give a recipe, or --list")
    chosen = load_recipe(recipe)
    if data is None or folder is None:
        raise typer.BadParameter("--data and --out are needed")
    from adapter.reproduction.reproduce import Options
    from adapter.reproduction.reproduce import reproduce as run

    options = Options(
        device=device,
        precision=precision,
        only=tuple(only or ()),
        unaligned_text=unaligned_text,
        keep_runs=keep_runs,
        note=note,
        cache=cache,
    )
    spec = BackboneSpec(
        name=backbone,
        pretrained=pretrained,
        model_config=model_config,
        projection=projection,
        token_pool=token_pool,
    )
    with progress("step") as bar:
        result = run(
            chosen.to_quick() if quick else chosen, data, folder, spec, options, Display(bar)
        )
    summarize(result)


def show_list() -> None:
    """Print every recipe with the first paragraph of its file, and its data."""
    from adapter.recipes import RECIPES, load_module

    for name in RECIPES:
        recipe, docstring = load_module(name)
        rows = sum(row.method is not None for row in recipe.rows)
        data = ", ".join(f"{t.title} ({len(t.folds)} split(s))" for t in recipe.tasks)
        out().print(f"[bold]{name}[/]  {docstring.strip().splitlines()[0]}", highlight=False)
        out().print(f"  {data}; {rows} methods; {recipe.source}", highlight=False)


def summarize(result: Reproduction) -> None:
    """Say where the tables are; a missing data set is an error."""
    say(f"{result.computed} cells computed, {result.reused} from earlier runs")
    for path in result.files:
        print(path)
    if result.missing:
        fail("not everything could be run.\n" + "\n".join(result.missing), code=3)


class Display:
    """Shows events on a progress bar."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "note":
            say(event.text)
        elif event.kind == "extract":
            self._show(f"extracting {event.text}", event)
        elif event.kind == "finished":
            self._show("cells", event)
        elif "cells" in self.tasks or event.kind == "cell":
            self._show("cells", None, f"{event.text} {event.done}/{event.total}")

    def _show(self, name: str, event: Event | None, step: str = "") -> None:
        if name not in self.tasks:
            self.tasks[name] = self.bar.add_task(name, total=None, step="")
        if event is None:
            self.bar.update(self.tasks[name], step=step)
        else:
            self.bar.update(self.tasks[name], completed=event.done, total=event.total, step=step)

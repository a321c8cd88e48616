"""`adapter reproduce`: list recipes, or run one with progress, and say what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.backbone import (
    BackboneName,
    Device,
    MaxFailures,
    ModelConfig,
    PrecisionOption,
    Pretrained,
    ProjectionOption,
    TokenPool,
)
from cli.console import fail, say
from cli.places import RUNS, find_data
from cli.progress import progress

if TYPE_CHECKING:
    from adapter.reproduction.reproduce import Event, Reproduction
    from cli.progress import Progress

EXAMPLES = """Reproduce a table of the paper, baselines included, from one cache.

**Examples**

`adapter reproduce --list`

`adapter reproduce table1`

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
        Path | None,
        typer.Option(
            help="Folder that holds the data sets, such as DIR/adience.  "
            "[default: $FEATCACHE_DATA or data]",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for caches, cells and tables.  [default: runs/RECIPE]",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Few steps, for a check in minutes; not the reproduction."),
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
    keep_runs: Annotated[
        bool, typer.Option("--keep-runs", help="Keep the trained adapters.")
    ] = False,
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
    max_failures: MaxFailures = 0.25,
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
    data = data or find_data()
    folder = folder or RUNS / chosen.name
    say(f"data sets from {data}; caches, cells and tables in {folder}")
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
        max_failures=max_failures,
    )
    spec = BackboneSpec(
        name=backbone,
        pretrained=pretrained,
        model_config=model_config,
        projection=projection,
        token_pool=token_pool,
    )
    with progress() as display:
        result = run(
            chosen.to_quick() if quick else chosen, data, folder, spec, options, Display(display)
        )
    summarize(result)


def show_list() -> None:
    """Print every recipe with the first paragraph of its file, and its data."""
    from adapter.recipes import RECIPES, load_module

    for name in RECIPES:
        recipe, docstring = load_module(name)
        rows = sum(row.method is not None for row in recipe.rows)
        data = ", ".join(f"{t.title} ({len(t.folds)} split(s))" for t in recipe.tasks)
        print(f"{name}  {docstring.strip().splitlines()[0]}")
        print(f"  {data}; {rows} methods; {recipe.source}")


def summarize(result: Reproduction) -> None:
    """Say where the tables are; a missing data set is an error."""
    say(f"{result.computed} cells computed, {result.reused} from earlier runs")
    for path in result.files:
        print(path)
    if result.missing:
        fail("not everything could be run.\n" + "\n".join(result.missing), code=3)


class Display:
    """Shows events: a job for each extraction, one for all cells."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.finished = self.cells = 0

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "note":
            say(event.text)
        elif event.kind == "extract":
            self.progress.show(f"extracting {event.text}", event.done, event.total, unit="images")
        elif event.kind == "finished":
            self.finished, self.cells = event.done, event.total
            self._cells("")
        else:
            self._cells(f"{event.text}: {event.done:,} of {event.total:,}")

    def _cells(self, step: str) -> None:
        self.progress.show("cells", self.finished, self.cells or None, unit="cells", note=step)

"""`adapter figure`: draw a figure of a paper from the user's data, as a page."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

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
from cli.recipes import CacheFolder, Display, how_to_run, show_drawing

EXAMPLES = """Draw a figure of a paper from the images of your data sets, as one HTML page.

It uses the results that `adapter reproduce` left in the same `--out`, and computes the rest.

**Examples**

`adapter figure --list`

`adapter figure figure5 --data /data --out runs/tables`

Without the data, on drawn stand-ins: `adapter figure figure5 --miniature`

`adapter figure clip-iqa-figure5 --data /data --pairs blurry sharp`
"""


def figure(
    name: Annotated[
        str, typer.Argument(help="Name of a figure; --list shows them.", show_default=False)
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="List the figures.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The folder that holds the folders of the data sets, such as ava.  "
            "[default: $FEATCACHE_DATA or data]",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The folder for caches, results and the page.  [default: runs/tables; with "
            "--miniature runs/tables-miniature]",
            show_default=False,
        ),
    ] = None,
    pairs: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--pairs",
            help="Two folders with the same file names, for a figure of pairs.",
            metavar="LOW HIGH",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Take few training steps, for a check in minutes.")
    ] = False,
    miniature: Annotated[
        bool,
        typer.Option(
            "--miniature",
            help="Without the data: draw small stand-ins of the data sets, and use those.",
        ),
    ] = False,
    note: Annotated[str, typer.Option(help="A sentence to print below the figure.")] = "",
    cache: CacheFolder = None,
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
    from adapter.recipes.figures import load_figure

    if list_:
        show_list()
        return
    if not name:
        raise typer.BadParameter("give a figure, or --list")
    chosen = load_figure(name)
    if miniature and data is not None:
        raise typer.BadParameter("--miniature draws its data; leave out --data")
    folder = folder or RUNS / ("tables-miniature" if miniature else "tables")
    data = folder / "data" if miniature else data or find_data()
    say(f"data sets from {data}; caches, cells and the page in {folder}")
    from adapter.figures.draw import draw
    from adapter.reproduction import miniatures

    options, spec = how_to_run(
        drawn=miniature,
        device=device,
        precision=precision,
        note=note,
        cache=cache,
        max_failures=max_failures,
        backbone=backbone,
        pretrained=pretrained,
        model_config=model_config,
        projection=projection,
        token_pool=token_pool,
    )
    with progress() as display:
        if miniature:
            show = partial(show_drawing, display)
            (recipe,) = miniatures.draw_data([chosen.recipe], data, show)
            chosen = replace(chosen, recipe=recipe)
        drawing = draw(
            chosen,
            data,
            folder,
            spec,
            options,
            quick=quick,
            pairs=pairs,
            on_event=Display(display),
        )
    if drawing.failed:
        fail("\n".join(["the figure could not be drawn.", *drawing.failed]), code=1)
    if drawing.missing:
        fail("\n".join(["the figure could not be drawn.", *drawing.missing]), code=3)
    print(drawing.file)


def show_list() -> None:
    """Print every figure, and the data that it needs."""
    from adapter.recipes.figures import FIGURES

    for name, chosen in FIGURES.items():
        needs = ", ".join(dict.fromkeys(task.dataset for task in chosen.recipe.tasks))
        print(f"{name}  {chosen.title}")
        print(f"  {chosen.source}; needs {needs}")

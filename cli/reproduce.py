"""`adapter reproduce`: list recipes, or run one with progress, and say what is missing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
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
from cli.cluster import Address, CpusPerTask, GpusPerTask, TaskEngine, side_by_side
from cli.console import fail, say, say_next
from cli.places import RUNS, find_data
from cli.progress import progress
from cli.recipes import CacheFolder, Display, how_to_run, show_drawing
from featcache.datasets.stand_in import NOTICE
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.reproduction.options import Reproduction
    from adapter.reproduction.recipe import Recipe

EXAMPLES = """Reproduce a table of a paper, with its baselines.

If it was stopped, give the same command again: it goes on.

**Examples**

`adapter reproduce --list`

`adapter reproduce table1`

`adapter reproduce table1 --data /data --out runs/table1 --quick`

`adapter reproduce --all --data /data --out runs/tables`

Without the data, on drawn stand-ins: `adapter reproduce table1 --miniature`

Your own table, two of its rows: `adapter reproduce my_table.py --data /data --out runs/mine
--only adapter --only ridge`

Four results at a time on each GPU: `adapter reproduce --all --data /data --engine ray
--gpus-per-task 0.25`
"""


def reproduce(
    recipe: Annotated[
        str,
        typer.Argument(
            help="Name of a recipe (--list shows them), or your own Python file.",
            show_default=False,
        ),
    ] = "",
    all_: Annotated[
        bool, typer.Option("--all", help="All tables whose data are there, and an index page.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the recipes.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The folder that holds the folders of the data sets, such as adience.  "
            "[default: $FEATCACHE_DATA or data]",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The folder for caches, results and tables.  [default: runs/RECIPE; with --all "
            "runs/tables; on stand-ins -miniature is added]",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Take few training steps: a check in minutes, not a reproduction."
        ),
    ] = False,
    miniature: Annotated[
        bool,
        typer.Option(
            "--miniature",
            help="Without the data: draw small stand-ins of the data sets, and use those.",
        ),
    ] = False,
    or_miniature: Annotated[
        bool,
        typer.Option(
            "--or-miniature", help="The same, but only if none of the recipe's data sets is there."
        ),
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Run only this row. Give it several times for more.")
    ] = None,
    unaligned_text: Annotated[
        bool,
        typer.Option(
            "--unaligned-text",
            help="For a backbone whose text and images are not aligned: leave out the methods "
            "that need it.",
        ),
    ] = False,
    note: Annotated[str, typer.Option(help="A sentence to print below the table.")] = "",
    keep_runs: Annotated[
        bool, typer.Option("--keep-runs", help="Keep the trained adapters.")
    ] = False,
    cache: CacheFolder = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    backbone: BackboneName = "",
    pretrained: Pretrained = "",
    model_config: ModelConfig = None,
    projection: ProjectionOption = "clip",
    token_pool: TokenPool = 1,
    max_failures: MaxFailures = 0.25,
    engine: TaskEngine = "local",
    address: Address = None,
    gpus_per_task: GpusPerTask = None,
    cpus_per_task: CpusPerTask = None,
) -> None:
    """See EXAMPLES."""
    from adapter.recipes import load_recipe, whole_tables

    if list_:
        show_list()
        return
    if bool(recipe) == all_:
        raise typer.BadParameter("give a recipe, or --all, or --list")
    if all_ and only:
        raise typer.BadParameter("--only chooses rows of one recipe, not of --all")
    chosen = whole_tables() if all_ else (load_recipe(recipe),)
    if miniature and data is not None:
        raise typer.BadParameter("--miniature draws its data; leave out --data")
    if miniature and quick:
        raise typer.BadParameter("--miniature takes few steps already; leave out --quick")
    real = data or find_data()
    from adapter.reproduction import miniatures
    from adapter.reproduction.reproduce import reproduce as run

    drawn = miniature or (or_miniature and not miniatures.data_are_there(chosen, real))
    name = "tables" if all_ else chosen[0].name
    folder = folder or RUNS / (f"{name}-miniature" if drawn else name)
    data = folder / "data" if drawn else real
    say(f"data sets from {data}; caches, cells and tables in {folder}")
    options, spec = how_to_run(
        drawn=drawn,
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
    options = replace(
        options, only=tuple(only or ()), unaligned_text=unaligned_text, keep_runs=keep_runs
    )
    with progress() as display:
        recipes: Sequence[Recipe] = [one.to_quick() for one in chosen] if quick else chosen
        if drawn:
            show = partial(show_drawing, display)
            recipes = miniatures.draw_data(chosen, data, show)
        spread = side_by_side(
            display,
            "cells, side by side",
            engine,
            address=address,
            gpus_per_task=gpus_per_task,
            cpus_per_task=cpus_per_task,
        )
        options = replace(options, spread=spread)
        result = run(recipes, data, folder, spec, options, Display(display))
    summarize(result)
    if drawn:
        say("\n".join([NOTICE, "For the real tables:", *miniatures.how_to_get(chosen, real)]))
        names = ["--all"] if all_ else [recipe]
        say_next("adapter", "reproduce", *names, "--data", real)


def show_list() -> None:
    """Print every recipe with the first paragraph of its file, and its data."""
    from adapter.recipes import RECIPES, STUDIES, load_module

    for name in RECIPES | STUDIES:
        recipe, docstring = load_module(name)
        rows = sum(row.method is not None for row in recipe.rows)
        quoted = len(recipe.rows) - rows
        data = ", ".join(
            dict.fromkeys(f"{t.title} ({quantity(len(t.folds), 'split')})" for t in recipe.tasks)
        )
        needs = ", ".join(dict.fromkeys(t.dataset for t in recipe.tasks))
        print(f"{name}  {docstring.strip().splitlines()[0]}")
        print(f"  {data}; {quantity(rows, 'row')} to run, {quoted} quoted; {recipe.source}")
        print(f"  needs {needs}" + backbones(recipe))


def backbones(recipe: Recipe) -> str:
    """Name the backbones that a recipe asks for beside the default."""
    asked = [{**recipe.backbone, **row.backbone} for row in recipe.rows if row.method is not None]
    told = []
    for fields in asked:
        words = [str(fields.get("name", "the default"))]
        words += [f"{key} {fields[key]}" for key in ("resize", "positions") if key in fields]
        told.append(" ".join(words))
    several = dict.fromkeys(told)
    return f"; backbones: {', '.join(several)}" if list(several) != ["the default"] else ""


def summarize(result: Reproduction) -> None:
    """Say where the tables are; a missing data set is an error."""
    say(f"{quantity(result.computed, 'cell')} computed, {result.reused} from earlier runs")
    for path in result.files:
        print(path)
    told = ["not everything could be run.", *result.missing]
    if result.failed:
        fail("\n".join([*told, "failed:", *result.failed]), code=1)
    if result.missing:
        fail("\n".join(told), code=3)

"""`featcache datasets`: what there is, and whether a folder is one of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import options, out, say, say_next, size, table
from cli.progress import working
from featcache.wording import quantity

if TYPE_CHECKING:
    from featcache.datasets.base import DatasetInfo


def datasets(
    name: Annotated[
        str, typer.Argument(help="Name of a data set. Without it, all are listed.")
    ] = "",
    long: Annotated[
        bool,
        typer.Option(
            "--long", help="Also show where to get each data set, its layout and its options."
        ),
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option(help="Say what this folder holds of the data set, and what is missing."),
    ] = None,
    contents: Annotated[
        bool,
        typer.Option(
            "--contents", help="With --check: also find equal files in two different splits."
        ),
    ] = False,
    option: Annotated[
        list[str] | None, typer.Option(help="An option of the data set, name=value.")
    ] = None,
    miniature: Annotated[
        Path | None,
        typer.Option(help="Draw a small stand-in of the data set into this folder, for a trial."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="With --miniature: how many images.", min=1)
    ] = None,
) -> None:
    """List the data sets, describe one, check a folder, or draw a small stand-in for a trial.

    **Examples**

    `featcache datasets`

    `featcache datasets --long`

    `featcache datasets koniq10k --check /data/koniq10k`

    `featcache datasets koniq10k --miniature tryout/koniq10k --images 200`
    """
    from featcache.datasets import info, names, open_dataset

    if miniature is not None:
        draw(name, miniature, images)
        return
    if images is not None:
        raise typer.BadParameter("--images needs --miniature, the folder to draw into")
    if not name:
        table(
            "",
            ["name", "task", "images", "cache per view", "license"],
            [
                (
                    one,
                    info(one).task,
                    f"{info(one).num_images:,}" if info(one).num_images else "yours",
                    size(info(one).cache_bytes() or 0) if info(one).num_images else "",
                    info(one).license,
                )
                for one in names()
            ],
        )
        for one in names() if long else ():
            describe(info(one))
        return
    if check is not None:
        reader = open_dataset(name, check, **options(option or [], "--option"))
        report = reader.check(contents=contents)
        print("\n".join(report.lines()))
        if report.ok:
            given = [part for pair in option or () for part in ("--option", pair)]
            say_next("featcache", "extract", "--dataset", name, "--root", check, given)
        sys.exit(0 if report.ok else 1)
    describe(info(name))


def draw(name: str, folder: Path, images: int | None) -> None:
    """Draw a miniature, and say what it is."""
    from featcache.datasets import open_dataset
    from featcache.datasets.miniatures import write

    if not name:
        raise typer.BadParameter("--miniature needs the name of a data set")
    with working(f"drawing a stand-in of {name}"):
        write(name, folder, images)
    reader = open_dataset(name, folder)
    say(
        f"{reader.title}: {quantity(len(reader.images()), 'image')} in {folder}, for trying "
        "things out. "
        f"The pictures are drawn; the real ones: {reader.info.source} "
        f"(terms: {reader.info.license})"
    )
    say_next("featcache", "extract", "--dataset", name, "--root", folder)


def describe(facts: DatasetInfo) -> None:
    """Print all that is known of a data set."""
    out().print(
        f"\n{facts.name}, {facts.title}: {facts.task}\n"
        f"license: {facts.license}\nwhere to get it: {facts.source}\n"
        f"expected layout:\n{facts.layout}"
    )
    if facts.options:
        table(
            "options (--option name=value)",
            ["name", "default", "what it does"],
            [(key, one.default, one.help) for key, one in facts.options.items()],
        )

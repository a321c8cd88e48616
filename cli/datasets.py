"""`featcache datasets`: what there is, and whether a folder is one of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.console import options, out, size, table


def datasets(
    name: Annotated[str, typer.Argument(help="A data set; all when left out.")] = "",
    check: Annotated[
        Path | None, typer.Option(help="A folder: say what is found in it, and what is missing.")
    ] = None,
    contents: Annotated[
        bool, typer.Option(help="With --check, also find equal files on two sides of a split.")
    ] = False,
    option: Annotated[
        list[str] | None, typer.Option(help="An option of the data set, name=value.")
    ] = None,
) -> None:
    """List the data sets, describe one, or check a folder before anything is extracted.

    **Examples**

    `featcache datasets`

    `featcache datasets koniq10k --check /data/koniq10k`
    """
    from featcache.datasets import info, names, open_dataset

    if not name:
        table(
            "",
            ["name", "task", "images", "cache per view", "licence"],
            [
                (
                    one,
                    info(one).task,
                    f"{info(one).num_images:,}" if info(one).num_images else "yours",
                    size(info(one).cache_bytes() or 0) if info(one).num_images else "",
                    info(one).licence,
                )
                for one in names()
            ],
        )
        return
    facts = info(name)
    if check is not None:
        reader = open_dataset(name, check, **options(option or [], "--option"))
        report = reader.check(contents=contents)
        print("\n".join(report.lines()))
        sys.exit(0 if report.ok else 1)
    out().print(
        f"{facts.title}: {facts.task}\nlicence: {facts.licence}\nask for it: {facts.source}",
        markup=False,
    )
    out().print(f"expected layout:\n{facts.layout}", markup=False, highlight=False)
    if facts.options:
        table(
            "options (--option name=value)",
            ["name", "default", "what it does"],
            [(key, one.default, one.help) for key, one in facts.options.items()],
        )

"""`adapter convert`: a released checkpoint into files that this project reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.console import command, say


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of the released code.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
) -> None:
    """Convert a checkpoint of the paper's authors into a run.

    It reads tensors only (`weights_only`), and writes the folder of a run (safetensors and JSON)
    for `adapter eval` and `adapter rank`. Then it prints the backbone options that
    `featcache extract` needs, so that the cache fits.

    **Examples**

    `adapter convert epoch_40.pt --out runs/published`

    `adapter rank runs/published --images photos --query "Rank the numbers of oranges."
    --out ranked.html`
    """
    from adapter.convert import convert_checkpoint

    found = convert_checkpoint(checkpoint, out)
    say(f"adapter of width {found.config.width} written to {out}")
    settings = command(_flags(found.settings))
    say(f"a cache for it: featcache extract --dataset NAME --root DIR --out CACHE {settings}")
    say(f"next: {command('adapter', 'eval', out)} --shards CACHE")
    say(f"or: {command('adapter', 'rank', out)} --images DIR --query TEXT --out ranked.html")


def _flags(settings: dict[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in (name, value)]

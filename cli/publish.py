"""`adapter publish` and `featcache card`: for others to use, and to read what they use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.caches import CacheFolder
from cli.console import command, say, size
from cli.progress import working
from featcache.wording import quantity


def publish(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run, evaluated with `adapter eval`.", metavar="RUN")
    ],
    target: Annotated[
        str, typer.Argument(help="A folder or an address to write to.", metavar="DST")
    ],
) -> None:
    """Publish a trained adapter in a folder or at an address, with a model card.

    The card says which data the adapter was trained on, their licenses, which backbone it needs,
    and its test results. Addresses are as in `featcache copy`.

    **Examples**

    `adapter publish runs/ages hf://NAME/ages`

    `adapter publish runs/ages published/ages`
    """
    from adapter.publishing.publish import publish as put

    if not (run / "eval.json").is_file() and (run / "run.json").is_file():
        say(f"note: this run is not evaluated; first: {command('adapter', 'eval', run)}")
    with working(f"writing to {target}"):
        files = put(run, target)
    say(
        f"{quantity(len(files), 'file')}, {size(sum(files.values()))}, in {target}; its card is "
        "README.md"
    )
    say(f"next: {command('adapter', 'rank', target)} --images PHOTOS --query TEXT")


def card(
    cache: CacheFolder,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write.  [default: standard output]", show_default=False),
    ] = None,
) -> None:
    """Write the data card of a cache: its images and their license, its backbone and its labels.

    **Examples**

    `featcache card cache/ava --out cache/ava/README.md`
    """
    from featcache.reading.cache import Cache
    from featcache.reading.card import data_card
    from featcache.storage.durable import prepare_target, write_text

    text = data_card(Cache.open(cache))
    if out is None:
        print(text, end="")
        return
    prepare_target(out)
    write_text(out, text)
    say(f"written to {out}")

"""`adapter publish` and `featcache card`: for others to use, and to read what they use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.caches import CacheFolder
from cli.console import command, say, size
from cli.progress import working


def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a run, evaluated.", metavar="RUN")],
    target: Annotated[str, typer.Argument(help="A folder or an address.", metavar="DST")],
) -> None:
    """Put a trained adapter where others find it, with a model card.

    The card says what it was trained on and under which licenses, which backbone it needs, and
    what it reaches. Addresses are as in `featcache copy`.

    **Examples**

    `adapter publish runs/ages hf://NAME/ages`

    `adapter publish runs/ages published/ages`
    """
    from adapter.publishing.publish import publish as put

    if not (run / "eval.json").is_file() and (run / "run.json").is_file():
        say(f"note: nobody has evaluated it; first: {command('adapter', 'eval', run)}")
    with working(f"writing to {target}"):
        files = put(run, target)
    say(f"{len(files)} files, {size(sum(files.values()))}, in {target}; its card is README.md")
    say(f"next: {command('adapter', 'rank', target)} --images PHOTOS --query TEXT")


def card(
    cache: CacheFolder,
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write.  [default: standard output]", show_default=False),
    ] = None,
) -> None:
    """Write the data card of a cache: what its features are of, and made by.

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

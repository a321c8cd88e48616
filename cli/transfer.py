"""`featcache copy`: caches to and from object stores, hubs and other folders."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.console import say, say_next, size
from cli.progress import progress
from featcache.wording import quantity


def copy(
    source: Annotated[str, typer.Argument(help="A cache: a folder or an address.")],
    target: Annotated[str, typer.Argument(help="A folder or an address to copy to.")],
    shards: Annotated[
        str,
        typer.Option(
            help="Copy only the shards with these numbers, such as 0-99. So several machines can "
            "share the work. At the end, run the same command without --shards.",
            show_default=False,
        ),
    ] = "",
    workers: Annotated[
        int, typer.Option(min=1, help="How many files are copied at the same time.")
    ] = 8,
) -> None:
    """Copy a cache, and check every byte that arrives.

    If the copy was stopped, give the same command again: it goes on. Addresses are those of
    fsspec: `s3://` (pip install 'featcache[s3]'), `gs://` (pip install gcsfs), `hf://` (a hub),
    and others. cache.json is copied last, so nobody can take half a copy for a cache.

    **Examples**

    `featcache copy cache/ava s3://bucket/ava`

    `featcache copy s3://bucket/ava cache/ava`

    `featcache copy cache/ava hf://datasets/NAME/ava --workers 2`

    `featcache copy cache/ava /mnt/nas/ava --shards 0-99`
    """
    from featcache.transfer.copy import copy_cache

    with progress() as display:
        summary = copy_cache(
            source,
            target,
            shards=_numbers(shards),
            workers=workers,
            on_bytes=lambda done, total: display.show(
                "copying and reading back", done, total, unit="bytes"
            ),
        )
    say(
        f"{quantity(summary.files, 'file')} copied ({size(summary.bytes)}), {summary.there:,} "
        "were there already; every one was read back and compared"
    )
    if summary.complete:
        say_next("featcache", "verify", target)
    else:
        say(f"next, for the other shards and cache.json: featcache copy {source} {target}")


def _numbers(text: str) -> range | None:
    """Read ``0-99``, or one number."""
    if not text:
        return None
    first, separator, last = text.partition("-")
    if not first.isdecimal() or (separator and not last.isdecimal()):
        raise typer.BadParameter(f"--shards {text}: expected numbers such as 0-99")
    return range(int(first), int(last or first) + 1)

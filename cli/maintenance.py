"""`featcache verify`, `repair`, `merge`, `compact` and `export`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.backbone import (
    ConfigAgain,
    Device,
    PretrainedAgain,
    ProjectionAgain,
    TextWeightsAgain,
    loader,
)
from cli.caches import CacheFolder
from cli.console import command, duration, say, say_next, size
from cli.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.progress import Progress
    from featcache.maintenance.repair import RepairProgress
    from featcache.maintenance.verify import VerifyProgress

Root = Annotated[Path | None, typer.Option(help="The data set's folder.")]
NewFolder = Annotated[Path, typer.Option(help="The folder to make.")]


def verify(
    cache: Annotated[
        str, typer.Argument(help="The cache's folder, or an address.", metavar="CACHE")
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="Read sizes, fingerprints and tables only.")
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(help="The data set's folder: find images that changed since the extraction."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for scripts.")] = False,
) -> None:
    """Read a whole cache and name each damaged file and row; exit code 1 if there is any.

    **Examples**

    `featcache verify cache/ava`

    `featcache verify cache/ava --quick`

    `featcache verify cache/ava --root /data/ava`

    `featcache verify s3://bucket/ava`, a copy: it is streamed, and nothing is kept of it
    """
    from featcache.maintenance.verify import verify_cache
    from featcache.storage.layout import is_address
    from featcache.transfer.check import verify_remote

    with progress() as display:

        def show(event: VerifyProgress) -> None:
            display.show("verifying", event.done, event.total, unit="bytes")

        if is_address(cache):
            report = verify_remote(cache, quick, show)
        else:
            report = verify_cache(cache, quick, root, show)
    if as_json:
        print(json.dumps({**asdict(report), "ok": report.ok}, indent=2, ensure_ascii=False))
    else:
        for line in report.lines():
            print(line)
        speed = f", {size(report.bytes / report.seconds)}/s" if report.seconds else ""
        say(
            f"{'intact' if report.ok else 'not intact'}: {report.files:,} files, "
            f"{size(report.bytes)} read in {duration(report.seconds)}{speed}"
        )
        if report.damages and is_address(cache):
            say(f"next: featcache copy CACHE {command(cache)}, from a copy that is intact")
        elif report.damages:
            again = command("featcache", "repair", cache, "--root")
            say(f"next: {again} {command(root) if root else 'DIR'}")
    if not report.ok:
        raise typer.Exit(1)


def repair(
    cache: CacheFolder,
    root: Root = None,
    accept_changed: Annotated[
        bool,
        typer.Option(
            "--accept-changed", help="Make features of images that changed since the extraction."
        ),
    ] = False,
    device: Device = "auto",
    pretrained: PretrainedAgain = None,
    model_config: ConfigAgain = None,
    projection: ProjectionAgain = None,
    text_weights: TextWeightsAgain = None,
    workers: Annotated[int, typer.Option(help="Decoding threads; 0: one per processor.")] = 0,
) -> None:
    """Make again only what is damaged, or failed earlier; the rest stays as it is.

    Lost tables and cache.json are rebuilt from the shards. Images are read, and the backbone is
    loaded, only where features are lost.

    **Examples**

    `featcache repair cache/ava --root /data/ava`
    """
    from featcache.maintenance.repair import repair_cache

    load = loader(
        device,
        pretrained=pretrained,
        model_config=model_config,
        projection=projection,
        text_weights=text_weights,
        same_precision=True,
    )
    with progress() as display:

        def show(event: RepairProgress) -> None:
            display.show(f"repairing: {event.phase}", event.done, event.total)

        report = repair_cache(
            cache,
            root,
            backbone=load,
            accept_changed=accept_changed,
            workers=workers,
            on_progress=show,
        )
    for damage in report.damages:
        print(f"was damaged: {damage}")
    for name in report.remade:
        different = " (not the same bytes as before)" if name in report.different else ""
        print(f"made again from its images: {name}{different}")
    for name in report.rewritten:
        print(f"written anew: {name}")
    for path in report.recovered:
        print(f"readable now: {path}")
    say("repaired and verified" if report.changed else "nothing to repair")
    if report.failed:
        say(f"{report.failed:,} images still have no features")
    say_next("featcache", "info", cache, "--failures" if report.failed else [])


def merge(
    parts: Annotated[list[Path], typer.Argument(help="Folders made with `extract --part I/N`.")],
    out: NewFolder,
) -> None:
    """Put the parts that several machines made together into one cache.

    **Examples**

    `featcache extract ... --part 1/2 --out part1` on one machine, `--part 2/2 --out part2` on
    another, then

    `featcache merge part1 part2 --out cache/ava`
    """
    from featcache.maintenance.merge import merge_caches

    with progress() as display:
        summary = merge_caches(parts, out, on_progress=_steps(display, "merging"))
    say(
        f"{summary.images:,} images, {summary.failed:,} failed, {summary.labels:,} labels and "
        f"{summary.prompts:,} prompts of {summary.parts} parts in {out} "
        f"({summary.linked:,} shards linked, {summary.copied:,} copied)"
    )
    if summary.labels:
        say_next("adapter", "train", "--shards", out)
    else:
        say_next("featcache", "info", out)


def compact(cache: CacheFolder) -> None:
    """Give back the disk that features of images take that are gone; nothing else changes.

    Needs room for one shard. If it is stopped, run it again.

    **Examples**

    `featcache compact cache/photos`
    """
    from featcache.maintenance.compact import compact_cache

    with progress() as display:
        summary = compact_cache(cache, on_progress=_steps(display, "compacting"))
    say(
        f"{summary.rows:,} images that are gone left out of {summary.shards:,} shards of {cache}: "
        f"{size(max(summary.freed, 0))} less"
        if summary.rows
        else f"{cache}: nothing to leave out"
    )


def export(
    cache: CacheFolder,
    out: NewFolder,
    to: Annotated[str, typer.Option("--format", help="safetensors or webdataset.")] = "safetensors",
) -> None:
    """Write the features in another format: safetensors and Parquet, or WebDataset tar files.

    **Examples**

    `featcache export cache/ava --out ava-safetensors`

    `featcache export cache/ava --out ava-wds --format webdataset`
    """
    from featcache.maintenance import export as exporting

    formats = {
        "safetensors": exporting.export_safetensors,
        "webdataset": exporting.export_webdataset,
    }
    if to not in formats:
        raise typer.BadParameter(f"--format {to}: expected {' or '.join(formats)}")
    with progress() as display:
        summary = formats[to](cache, out, on_progress=_steps(display, "exporting"))
    say(f"{summary.images:,} images in {summary.files:,} files, {size(summary.bytes)}, in {out}")


def _steps(display: Progress, what: str) -> Callable[[int, int], None]:
    """Return a callback that shows how many shards are done."""
    return lambda done, total: display.show(what, done, total, unit="shards")

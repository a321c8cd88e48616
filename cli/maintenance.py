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
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.progress import Progress
    from featcache.maintenance.repair import RepairProgress
    from featcache.maintenance.verify import VerifyProgress

Root = Annotated[
    Path | None, typer.Option(help="The folder of the images, as in `featcache extract`.")
]
NewFolder = Annotated[Path, typer.Option(help="The folder to make.")]


def verify(
    cache: Annotated[
        str, typer.Argument(help="The cache's folder, or an address.", metavar="CACHE")
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="Check only file sizes, fingerprints and tables.")
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(help="The folder of the images: also name images that changed since then."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Read a whole cache, and name each damaged file and row. With damage, the exit code is 1.

    **Examples**

    `featcache verify cache/ava`

    `featcache verify cache/ava --quick`

    `featcache verify cache/ava --root /data/ava`

    A cache at an address is streamed, and nothing of it is kept on disk:
    `featcache verify s3://bucket/ava`
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
            f"{'intact' if report.ok else 'not intact'}: {quantity(report.files, 'file')}, "
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
        typer.Option("--accept-changed", help="Also use images that changed since the extraction."),
    ] = False,
    device: Device = "auto",
    pretrained: PretrainedAgain = None,
    model_config: ConfigAgain = None,
    projection: ProjectionAgain = None,
    text_weights: TextWeightsAgain = None,
    workers: Annotated[
        int, typer.Option(help="Threads that decode images. 0: one per CPU core.")
    ] = 0,
) -> None:
    """Make damaged parts of a cache again, and try failed images again. The rest stays as it is.

    Lost tables and a lost cache.json are rebuilt from the shards. Images and backbone are needed
    only if features are lost.

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
        print(f"damaged: {damage}")
    for name in report.remade:
        different = " (not the same bytes as before)" if name in report.different else ""
        print(f"made again from its images: {name}{different}")
    for name in report.rewritten:
        print(f"written again: {name}")
    for path in report.recovered:
        print(f"can be read now: {path}")
    say("repaired and verified" if report.changed else "nothing to repair")
    if report.failed:
        say(f"still without features: {quantity(report.failed, 'image')}")
    say_next("featcache", "info", cache, "--failures" if report.failed else [])


def merge(
    parts: Annotated[
        list[Path], typer.Argument(help="The folders that `featcache extract --part I/N` made.")
    ],
    out: NewFolder,
) -> None:
    """Make one cache of the parts that several machines made.

    **Examples**

    On one machine: `featcache extract --dataset ava --part 1/2 --out part1`

    On another machine: `featcache extract --dataset ava --part 2/2 --out part2`

    Then, with both folders on one machine: `featcache merge part1 part2 --out cache/ava`
    """
    from featcache.maintenance.merge import merge_caches

    with progress() as display:
        summary = merge_caches(parts, out, on_progress=_steps(display, "merging"))
    say(
        f"{quantity(summary.images, 'image')}, {summary.failed:,} failed, "
        f"{quantity(summary.labels, 'label')} and "
        f"{quantity(summary.prompts, 'prompt')} of {quantity(summary.parts, 'part')} in {out} "
        f"({quantity(summary.linked, 'shard')} linked, {summary.copied:,} copied)"
    )
    if summary.labels:
        say_next("adapter", "train", "--shards", out)
    else:
        say_next("featcache", "info", out)


def compact(cache: CacheFolder) -> None:
    """Free the disk space of images that were removed from the data set.

    Nothing else changes. It needs free space for one shard. If it was stopped, run it again.

    **Examples**

    `featcache compact cache/photos`
    """
    from featcache.maintenance.compact import compact_cache

    with progress() as display:
        summary = compact_cache(cache, on_progress=_steps(display, "compacting"))
    say(
        f"{cache}: {quantity(summary.rows, 'removed image')} left out of "
        f"{quantity(summary.shards, 'shard')}, {size(max(summary.freed, 0))} freed"
        if summary.rows
        else f"{cache}: no removed images, nothing to free"
    )


def export(
    cache: CacheFolder,
    out: NewFolder,
    to: Annotated[
        str, typer.Option("--format", help="safetensors (with Parquet) or webdataset.")
    ] = "safetensors",
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
    images, files = quantity(summary.images, "image"), quantity(summary.files, "file")
    say(f"{images} in {files}, {size(summary.bytes)}, in {out}")


def _steps(display: Progress, what: str) -> Callable[[int, int], None]:
    """Return a callback that shows how many shards are done."""
    return lambda done, total: display.show(what, done, total, unit="shards")

"""`adapter report`: a page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.backbone import Device
from cli.console import say, say_next
from cli.evaluate import RunFolder, caches_of
from cli.progress import working


def report(
    run: RunFolder,
    caches: Annotated[
        list[Path] | None,
        typer.Option("--shards", help="A cache.  [default: the caches of the training]"),
    ] = None,
    roots: Annotated[
        list[Path] | None,
        typer.Option(
            "--root",
            help="The folder of the images, to show them. Give one for each cache.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Splits to evaluate, such as val,test.")] = "test",
    fold: Annotated[
        int | None, typer.Option(help="The fold to evaluate, if the data set has several.")
    ] = None,
    max_images: Annotated[
        int, typer.Option(help="Largest number of images per query in the full lists.", min=1)
    ] = 400,
    zero_shot: Annotated[
        bool,
        typer.Option(
            "--zero-shot",
            help="Also measure the backbone without training. Its text and image embeddings must "
            "be aligned.",
        ),
    ] = False,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="The HTML file to write.  [default: RUN/report.html]")
    ] = None,
) -> None:
    """Write an HTML page about a run: ranked images, a scatter plot and metrics of each query.

    The page is one file. For comparison, it also shows ridge regression on the same features.

    **Example**

    `adapter report runs/ava --root /data/ava/images`
    """
    from adapter.pages.build import build_report
    from featcache.storage.durable import prepare_target, write_json, write_text

    target = out or run / "report.html"
    prepare_target(target)
    with working("evaluating and drawing"):
        page, metrics = build_report(
            run,
            caches or caches_of(run),
            roots=roots or (),
            split=tuple(split.split(",")),
            fold=fold,
            device=device,
            max_images=max_images,
            zero_shot=zero_shot,
        )
    write_text(target, page)
    write_json(target.with_suffix(".json"), metrics)
    for name, values in metrics["mean"].items():
        shown = ", ".join(f"{k} {v:.3f}" for k, v in values.items() if v is not None)
        say(f"{name}: {shown}")
    used = caches or caches_of(run)
    if roots and len(roots) < len(used):
        others = ", ".join(map(str, used[len(roots) :]))
        say(f"no pictures for {others}: give one --root for each cache, in the same order")
    say(f"written to {target} and {target.with_suffix('.json').name}")
    if metrics["queries"]:
        query = metrics["queries"][0]["query"]
        words: list[str | Path] = ["--shards", used[0]]
        if roots:
            words += ["--root", roots[0]]
        say_next("adapter", "rank", run, words, "--query", query, "--out", run / "ranked.html")

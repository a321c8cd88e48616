"""`adapter rank`: photos in the order of a query, as a gallery or a table."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.backbone import (
    BackboneName,
    Device,
    MaxFailures,
    PositionsOption,
    PrecisionOption,
    Resize,
)
from cli.console import say
from cli.extract import shown_on
from cli.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.evaluation.ranking import Ranking
    from adapter.methods.ranker import Ranker
    from cli.progress import Progress


def rank(
    run: Annotated[
        Path | None,
        typer.Argument(help="Folder of a run or of a fitted method; none for opposite prompts."),
    ] = None,
    query: Annotated[
        str | None,
        typer.Option(help="What to sort by: a prompt, as in the labels.", show_default=False),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="A folder of images; features are made on the way.")
    ] = None,
    caches: Annotated[
        Path | None, typer.Option("--shards", help="Or a cache that holds them already.")
    ] = None,
    attributes: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute",
            help="Without a run: quality, brightness, ... of CLIP-IQA; several times for more.",
        ),
    ] = None,
    antonyms: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="Without a run: two opposite prompts, the high end first.", metavar="HIGH LOW"
        ),
    ] = None,
    antonyms_file: Annotated[
        Path | None, typer.Option(help="Without a run: pairs of prompts, a CSV file.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="With --shards: the images' folder, for the pictures.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A gallery (.html) or a table (.csv); else CSV on stdout.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the features of --images in this cache.")
    ] = None,
    by: Annotated[str, typer.Option(help="Rank by score, or by comparison of pairs.")] = "score",
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    max_failures: MaxFailures = 0.25,
    backbone: BackboneName = "",
    pretrained: Annotated[
        str | None, typer.Option(help="Where the backbone's weights are now.")
    ] = None,
    model_config: Annotated[
        str | None, typer.Option(help="Where the backbone's model config is now.")
    ] = None,
    resize: Resize = "squash",
    positions: PositionsOption = "default",
) -> None:
    """Rank photos by a text query.

    With a run or a fitted method, or with opposite prompts alone (CLIP-IQA), which need no
    training.

    **Examples**

    `adapter rank runs/ava --images photos --query "sort images by the image quality of
    aesthetics." --out ranked.html`

    `adapter rank runs/coco --shards cache/coco --query "sort images by the number of cats."`

    `adapter rank --images photos --antonyms "Good photo." "Bad photo." --out ranked.html`

    `adapter rank --images photos --attribute quality --attribute brightness`

    `adapter rank --images photos --attribute quality --backbone RN50-quickgelu
    --pretrained openai --resize native --positions none`, as CLIP-IQA has it
    """
    from adapter.errors import ConfigError
    from adapter.evaluation.ranking import require_images
    from adapter.methods.ranker import AntonymRanker, chosen_pairs
    from adapter.names import choose_names
    from featcache.backbone import BackboneSpec
    from featcache.datasets import open_dataset
    from featcache.reading.cache import Cache
    from featcache.storage.durable import prepare_target, require_writable, write_text

    if (images is None) == (caches is None):
        raise ConfigError("give either --images, a folder, or --shards, a cache")
    (by,) = choose_names("--by", [by], ("score", "comparison")) or ("score",)
    if out is not None:
        if out.suffix not in (".html", ".csv"):
            raise ConfigError(f"--out {out}: expected a name that ends in .html or .csv")
        prepare_target(out)
    if keep is not None:
        require_writable(keep)
    pairs = chosen_pairs(attributes or (), antonyms, antonyms_file)
    ranker: Ranker
    if pairs:
        if run is not None or query is not None:
            raise ConfigError("opposite prompts need no run and no --query; leave those out")
        # Pooled embeddings are enough.
        spec = BackboneSpec.build(
            name=backbone,
            pretrained=pretrained or "",
            model_config=model_config,
            resize=resize,
            positions=positions,
            tokens="none",
        )
        ranker = AntonymRanker(pairs=pairs, spec=spec)
    else:
        if (resize, positions) != ("squash", "default"):
            raise ConfigError(
                "a run sees images as in its training: --resize and --positions go with "
                "--antonyms or --attribute"
            )
        ranker = _ranker(run, query, by, precision)
    with tempfile.TemporaryDirectory(prefix="featcache-") as temporary:
        if images is not None:
            with progress() as display:
                display.show("loading the backbone")
                cache = ranker.extract(
                    images,
                    keep or Path(temporary) / "cache",
                    device=device,
                    precision=precision,
                    max_failures=max_failures,
                    on_event=shown_on(display),
                    pretrained=pretrained,
                    model_config=model_config,
                )
        else:
            assert caches is not None  # one of the two is given, see above
            cache = Cache.open(caches)
        require_images(cache)
        with progress() as display:
            ranking = ranker.rank(cache, device=device, on_images=_counting(display, len(cache)))
    if images is not None:
        for note in open_dataset("folder", images).notes():
            say(note)
    if ranking.failed:
        say(f"{len(ranking.failed)} images could not be read:")
        for path, reason in list(ranking.failed.items())[:10]:
            say(f"  {path}: {reason}")
    if out is None:
        print(_csv(ranking), end="")
        return
    page = _gallery(images or root, ranking, run) if out.suffix == ".html" else _csv(ranking)
    write_text(out, page)
    say(f"{len(ranking.paths):,} images ranked; written to {out}")


def _counting(display: Progress, total: int) -> Callable[[int], None]:
    """Return what counts the images that are ranked."""
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        display.show("ranking", done, total, unit="images")

    count(0)
    return count


def _ranker(run: Path | None, query: str | None, by: str, precision: str) -> Ranker:
    """Return what ranks: a run with a query, or a fitted method with its own."""
    from adapter.errors import ConfigError
    from adapter.methods.fitted import Fitted, is_fitted
    from adapter.methods.ranker import FittedRanker, RunRanker
    from adapter.stored import StoredRun

    if run is None:
        raise ConfigError(
            "give the folder of a run, or opposite prompts: --antonyms HIGH LOW, --attribute NAME"
        )
    if is_fitted(run):
        fitted = Fitted.load(run)
        if query not in (None, fitted.query):
            raise ConfigError(
                f"{run} was fitted to {fitted.query!r} and ranks by nothing else; leave out --query"
            )
        return FittedRanker(fitted=fitted)
    if query is None:
        raise ConfigError("give --query, what to sort by")
    trained = StoredRun.load(run)
    if note := trained.about_query(query):
        say(f"note: {note}")
    return RunRanker(
        run=trained,
        query=query,
        by=by,  # type: ignore[arg-type]  # checked
        precision=precision,  # type: ignore[arg-type]  # checked by the library
    )


def _gallery(root: Path | None, ranking: Ranking, run: Path | None) -> str:
    from adapter.pages.page import gallery_page
    from adapter.pages.thumbnails import make_thumbnails

    return gallery_page(
        ranking.query,
        ranking.paths,
        ranking.scores,
        {"run": str(run or "opposite prompts"), "images": str(root or "from a cache")},
        make_thumbnails([root] if root else [], [(0, path) for path in ranking.paths]),
    )


def _csv(ranking: Ranking) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["place", "path", "score"])
    for place, (path, score) in enumerate(zip(ranking.paths, ranking.scores, strict=True), 1):
        writer.writerow([place, path, f"{score:.6g}"])
    return text.getvalue()

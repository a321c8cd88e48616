"""`adapter rank`: photos in the order of a query, as a gallery or a table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.backbone import (
    BackboneName,
    ColorOption,
    ConfigAgain,
    Device,
    MaxFailures,
    PairsOption,
    PositionsOption,
    PrecisionOption,
    Resize,
)
from cli.console import say
from cli.evaluate import OpponentsOption
from cli.extract import shown_on
from cli.progress import progress
from cli.ranking import counting, gallery_of, rankers_of, run_of, table_of, write_why
from cli.settings import texts_of
from cli.takeaway import TakeAway, take_away
from featcache.wording import quantity

if TYPE_CHECKING:
    from adapter.methods.ranker import Ranker


def rank(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Folder of a run or of a fitted method, or the address of a published run. Leave "
            "it out with --attribute, --antonyms, --antonyms-file or --comparisons.",
            metavar="[RUN]",
            show_default=False,
        ),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            help="What to sort by: a sentence, as in the labels. Give it several times to combine "
            "several queries.",
            show_default=False,
        ),
    ] = None,
    weight: Annotated[
        list[float] | None,
        typer.Option(
            help="Weight of a query, -1 to 1, in the order of the queries. A negative weight asks "
            "for the opposite.  [default: 1]",
            show_default=False,
        ),
    ] = None,
    combine: Annotated[
        str,
        typer.Option(
            help="Several queries: percentile takes the weighted mean of percentiles, product "
            "multiplies the scores."
        ),
    ] = "percentile",
    images: Annotated[
        Path | None, typer.Option(help="A folder of images to rank. Their features are made first.")
    ] = None,
    caches: Annotated[
        Path | None, typer.Option("--shards", help="Or a cache of images to rank.")
    ] = None,
    attributes: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute",
            help="Without a run: rank by an attribute of CLIP-IQA, such as quality or brightness. "
            "Give it several times to combine several.",
        ),
    ] = None,
    antonyms: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="Without a run: rank by two opposite prompts. Images near HIGH come first.",
            metavar="HIGH LOW",
        ),
    ] = None,
    antonyms_file: Annotated[
        Path | None,
        typer.Option(help="Without a run: the same with several pairs, from a CSV file."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            help="With --shards: the folder of the images, to show or copy them.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write: a gallery (.html) or a table (.csv, .json, .parquet).  "
            "[default: CSV on standard output]",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Keep the features of --images in this cache, for the next time."),
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="Take only the first N images.", metavar="N")
    ] = None,
    link: Annotated[
        Path | None,
        typer.Option(
            help="Make links to the images in this folder, named by rank: 0001_IMG_2211.jpg."
        ),
    ] = None,
    copy: Annotated[Path | None, typer.Option(help="The same, with copies of the images.")] = None,
    move: Annotated[
        Path | None, typer.Option(help="The same, but move the images. It asks first.")
    ] = None,
    xmp: Annotated[
        bool,
        typer.Option(
            "--xmp",
            help="Write --stars, --label and --keyword into XMP sidecar files. What they "
            "hold already stays.",
        ),
    ] = False,
    embed: Annotated[
        bool, typer.Option("--embed", help="Write the same into the JPEG files.")
    ] = False,
    stars: Annotated[
        str | None,
        typer.Option(
            help="Which percentile gets how many stars: 5:95,4:85,3:60 gives five stars from the "
            "95th percentile on.",
            metavar="RULE",
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="A label for the images, such as Red.")] = None,
    keyword: Annotated[
        list[str] | None,
        typer.Option(help="A keyword for the images. Give it several times for more."),
    ] = None,
    sidecar: Annotated[
        str, typer.Option(help="Names of new sidecar files: full (a.jpg.xmp) or stem (a.xmp).")
    ] = "full",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done to files, and do not do it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --move: do not ask.")] = False,
    log: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the list of changes, for `adapter undo`.  "
            "[default: takeaway-TIME.jsonl]",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    why: Annotated[
        list[str] | None,
        typer.Option(
            help="Do not rank; show in --out PAGE.html which parts of this image raised its score. "
            "Give it twice to compare two images.",
            metavar="IMAGE",
        ),
    ] = None,
    by: Annotated[
        str, typer.Option(help="Rank by score, or by comparison of pairs of images.")
    ] = "score",
    opponents: OpponentsOption = "",
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    max_failures: MaxFailures = 0.25,
    backbone: BackboneName = "",
    pretrained: Annotated[
        str | None,
        typer.Option(
            help="The weights of --backbone, as in `featcache extract`. With a run: where the "
            "weights are now, if they were moved.",
            show_default=False,
        ),
    ] = None,
    model_config: ConfigAgain = None,
    resize: Resize = "squash",
    positions: PositionsOption = "default",
    comparisons: Annotated[
        Path | None,
        typer.Option(
            help="Without a run, with --shards: learn from a table of answers, and rank by what "
            "was learned. Its columns are left, right, answer and question."
        ),
    ] = None,
    color: ColorOption = "",
    raw_pairs: PairsOption = "",
) -> None:
    """Rank images by a text query.

    Rank with a run or with a fitted method. Or rank without training, with two opposite prompts
    (CLIP-IQA).

    **Examples**

    `adapter rank runs/ava --images photos --query "sort images by the image quality of
    aesthetics." --out ranked.html`

    `adapter rank runs/coco --shards cache/coco --query "sort images by the number of cats."`

    Two queries, and links to the best 50 images: `adapter rank runs/ava --images photos --query A
    --query B --weight 0.7 --weight 0.3 --top 50 --link best`

    Stars into sidecar files, only shown: `adapter rank runs/ava --images photos --query A --xmp
    --stars 5:95,4:85,3:60 --dry-run`

    Why these two images got their scores: `adapter rank runs/ava --shards cache/ava --root ava
    --query A --why a.jpg --why b.jpg --out why.html`

    With a published run: `adapter rank hf://NAME/ages --images photos --query "sort images by the
    person's age group."`

    Without training: `adapter rank --images photos --antonyms "Good photo." "Bad photo." --out
    ranked.html`

    Without training, by two attributes: `adapter rank --images photos --attribute quality
    --attribute brightness`

    With the backbone of CLIP-IQA: `adapter rank --images photos --attribute quality
    --backbone RN50-quickgelu --pretrained openai --resize native --positions none`

    By answers about pairs: `adapter rank --shards cache/photos --comparisons answers.csv
    --out ranked.csv`
    """
    from adapter.errors import ConfigError
    from adapter.evaluation.rank import extract_folder
    from adapter.evaluation.ranking import require_images
    from adapter.evaluation.wishes import FORMS, combine_rankings, require_weights
    from adapter.methods.fitted import is_fitted
    from adapter.methods.ranker import AntonymRanker, chosen_pairs
    from adapter.names import choose_names
    from adapter.takeaway.table import SUFFIXES
    from featcache.backbone import BackboneSpec
    from featcache.datasets import open_dataset
    from featcache.datasets.folder import Folder
    from featcache.datasets.stand_in import NOTICE
    from featcache.extraction.plan import color_for
    from featcache.reading.cache import Cache
    from featcache.storage.durable import prepare_target, require_writable, write_text

    queries = texts_of(query, "--query")
    folder_options = {"pairs": raw_pairs} if raw_pairs else {}
    run = run_of(source)
    if (images is None) == (caches is None):
        raise ConfigError("give either --images, a folder, or --shards, a cache")
    take = TakeAway(
        top=top,
        link=link,
        copy=copy,
        move=move,
        xmp=xmp,
        embed=embed,
        stars=stars,
        label=label,
        keywords=tuple(keyword or ()),
        spelling=sidecar,  # type: ignore[arg-type]  # checked there
        dry_run=dry_run,
        yes=yes,
        log=log,
    )
    if take.touches_files and (images or root) is None:
        raise ConfigError("the folder of the photos is needed: --root DIR, or --images DIR")
    (combine,) = choose_names("--combine", [combine], FORMS) or ("percentile",)
    (by,) = choose_names("--by", [by], ("score", "comparison")) or ("score",)
    if out is not None:
        if out.suffix not in (".html", *SUFFIXES):
            raise ConfigError(
                f"--out {out}: expected a name that ends in .html, {', '.join(SUFFIXES)}"
            )
        prepare_target(out)
    if keep is not None:
        require_writable(keep)
    pairs = chosen_pairs(attributes or (), antonyms, antonyms_file)
    seen_otherwise = bool(backbone or color or (resize, positions) != ("squash", "default"))
    if caches is not None and (seen_otherwise or raw_pairs):
        raise ConfigError(
            "--backbone, --resize, --positions, --color and --pairs are for --images; the features "
            "of a cache exist already"
        )
    if (pairs or (run is not None and is_fitted(run))) and (by != "score" or opponents):
        raise ConfigError(
            "--by comparison and --opponents need a run of `adapter train`; others give scores"
        )
    rankers: list[Ranker]
    if comparisons is not None:
        from adapter.data.comparisons import read_comparisons
        from adapter.teaching.ranker import taste_rankers

        if run is not None or pairs or caches is None:
            raise ConfigError(
                "--comparisons ranks a cache: give --shards, and leave out the run and opposites"
            )
        rankers = [*taste_rankers(read_comparisons(comparisons), queries)]
    elif pairs:
        if run is not None or queries:
            raise ConfigError("opposite prompts need no run and no --query; leave those out")
        if caches is not None:
            moved = {"pretrained": pretrained, "model_config": model_config}
            rankers = [AntonymRanker(pairs=pairs, moved=moved)]
        else:
            spec = BackboneSpec.build(
                name=backbone,
                pretrained=pretrained or "",
                model_config=model_config,
                resize=resize,
                positions=positions,
                color=color_for(Folder.info, keep, color),
                tokens="none",  # pooled embeddings are enough
            )
            rankers = [AntonymRanker(pairs=pairs, spec=spec)]
    else:
        if seen_otherwise:
            raise ConfigError(
                "a run sees images as in its training: --backbone, --resize, --positions and "
                "--color go with --antonyms or --attribute"
            )
        rankers = rankers_of(run, queries, by, opponents, precision)
    weights = weight or [1.0] * len(rankers)
    require_weights(weights, len(rankers))
    with tempfile.TemporaryDirectory(prefix="featcache-") as temporary:
        if images is not None:
            with progress() as display:
                display.show("loading the backbone")
                cache = extract_folder(
                    rankers[0].features(pretrained=pretrained, model_config=model_config),
                    images,
                    keep or Path(temporary) / "cache",
                    device=device,
                    precision=precision,
                    max_failures=max_failures,
                    on_event=shown_on(display),
                    **folder_options,
                )
        else:
            assert caches is not None  # one of the two is given, see above
            cache = Cache.open(caches)
        require_images(cache)
        if why:
            write_why(rankers[0], cache, why, images or root, out)
            return
        rankings = []
        for ranker in rankers:
            with progress() as display:
                counted = counting(display, len(cache))
                rankings.append(ranker.rank(cache, device=device, on_images=counted))
        ranking, shares = rankings[0], {}
        if len(rankings) > 1 or weights != [1.0]:
            ranking, each = combine_rankings(cache, rankings, weights, combine)  # type: ignore[arg-type]
            names = [found.query for found in rankings]
            shares = dict(zip(names, each, strict=True))
    drawn = NOTICE if cache.stand_in or any(one.stand_in for one in rankers) else ""
    if drawn:
        say(drawn)
    if images is not None:
        for note in open_dataset("folder", images, **folder_options).notes():
            say(note)
    if ranking.failed:
        say(f"{quantity(len(ranking.failed), 'image')} could not be read:")
        for path, reason in list(ranking.failed.items())[:10]:
            say(f"  {path}: {reason}")
    if out is not None and out.suffix == ".html":
        write_text(out, gallery_of(images or root, ranking.first(top), run, drawn))
    elif out is not None:
        table_of(ranking, shares, take, top).write(out)
    elif not take.touches_files:
        print(table_of(ranking, shares, take, top).to_csv(), end="")
    if out is not None:
        count = len(ranking.first(top).paths)
        say(f"{quantity(count, 'image')} ranked; written to {out}")
    take_away(take, images or root, ranking)

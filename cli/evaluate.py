"""`adapter eval`: metrics of a run on labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from cli.backbone import Device, PrecisionOption
from cli.console import say, say_next
from cli.places import known_root
from cli.progress import progress, working
from cli.train import Queries, Tasks
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.evaluation.long_tail import LongTail
    from cli.progress import Progress
    from featcache.reading.cache import Cache

RunFolder = Annotated[Path, typer.Argument(help="The run's folder.", metavar="RUN")]
OpponentsOption = Annotated[
    str,
    typer.Option(
        help="With comparison: each image is compared with K others, or with all.  "
        "[default: all for up to 5,000 images, else 64]",
        metavar="K|all",
    ),
]


def parse_opponents(text: str) -> int | Literal["all"] | None:
    """Read ``--opponents``."""
    if text in ("", "all"):
        return "all" if text else None
    if not text.isdecimal():
        raise typer.BadParameter(f"--opponents {text}: expected a whole number, or all")
    return int(text)


def evaluate(
    run: RunFolder,
    caches: Annotated[
        list[Path] | None,
        typer.Option("--shards", help="A cache.  [default: the caches of the training]"),
    ] = None,
    split: Annotated[str, typer.Option(help="Splits to evaluate, such as val,test.")] = "test",
    fold: Annotated[
        int | None, typer.Option(help="The fold to evaluate, if the data set has several.")
    ] = None,
    query: Queries = None,
    task: Tasks = None,
    by: Annotated[
        str, typer.Option(help="Rank by score, comparison, or both.  [default: what the run has]")
    ] = "",
    method: Annotated[
        str,
        typer.Option(help="With comparison: how pairs become a ranking, bradley-terry or borda."),
    ] = "bradley-terry",
    opponents: OpponentsOption = "",
    relevance: Annotated[
        int | None, typer.Option(help="For counting queries: evaluate by relevance to this count.")
    ] = None,
    view: Annotated[
        str | None,
        typer.Option(help="Use this view of the images, such as hflip.  [default: original]"),
    ] = None,
    long_tail: Annotated[
        bool,
        typer.Option(
            "--long-tail",
            help="Also print the squared error for values that are frequent, less frequent and "
            "rare in the training labels, and EMD1 and EMD2 of rating distributions.",
        ),
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="With --long-tail: also the accuracy of telling values above this number from "
            "values below it, such as 5 for AVA."
        ),
    ] = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    out: Annotated[
        Path | None, typer.Option(help="The file for the results.  [default: RUN/eval.json]")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Also write a table (.parquet or .csv) with a row per image and query: path, "
            "query, value, score, comparison."
        ),
    ] = None,
) -> None:
    """Evaluate a run or a fitted method on labels.

    It prints PLCC, SRCC, Kendall's tau, MAE, accuracy and pairwise accuracy of each query, and
    their mean, as a Markdown table. If the folder holds several runs (seeds and folds), each is
    evaluated, and the table shows mean and spread.

    **Examples**

    `adapter eval runs/ava`

    `adapter eval runs/ava --predictions runs/ava/predictions.parquet`

    Several runs, trained with `--seeds 0,1,2`: `adapter eval runs/hci`

    A fitted method, on ratings from 1 to 10: `adapter eval fits/tmcr-frozen --long-tail
    --threshold 5`
    """
    from adapter.errors import ConfigError
    from adapter.evaluation.evaluate import evaluate as measure
    from adapter.evaluation.long_tail import long_tail_table, long_tails_of
    from adapter.evaluation.predictions import require_table_name, write_predictions
    from adapter.methods.fitted import is_fitted
    from adapter.names import choose_names
    from adapter.network.comparison import METHODS
    from adapter.record import member_folders
    from adapter.stored import StoredRun, open_caches
    from featcache.storage.durable import prepare_target, write_json

    (method,) = choose_names("--method", [method], METHODS) or METHODS[:1]
    long_tail = long_tail or threshold is not None
    if is_fitted(run):
        of_runs = {
            "--query": query, "--task": task, "--by": by, "--opponents": opponents, "--view": view,
            "--relevance": relevance, "--predictions": predictions,
        }  # fmt: skip
        if given := [name for name, value in of_runs.items() if value]:
            raise ConfigError(f"{given[0]} goes with a run; {run} is a fitted method")
        tail = {"threshold": threshold} if long_tail else None
        _evaluate_fitted(run, caches, split, fold, out or run / "eval.json", tail)
        return
    options: dict[str, Any] = {
        "split": split,
        "fold": fold,
        "queries": query or (),
        "tasks": task or (),
        "by": {"both": ("score", "comparison"), "": None}.get(by.strip(), by),
        "method": method,
        "opponents": parse_opponents(opponents),
        "relevance": relevance,
        "device": device,
        "precision": precision,
        "view": view,
    }
    target = out or run / "eval.json"
    members = member_folders(run)
    if members:
        if predictions is not None or long_tail:
            option = "--predictions" if predictions is not None else "--long-tail"
            raise ConfigError(f"{option} takes one run; {run} holds {len(members)}")
        _evaluate_members(run, members, caches, options, target)
        return
    used = caches or caches_of(run)
    prepare_target(target)
    if predictions is not None:
        require_table_name(predictions)
        prepare_target(predictions)
    with progress() as display:
        opened = open_caches(used)
        evaluation = measure(run, opened, **options, on_progress=_shown_on(display, "evaluating"))
    tails = long_tails_of(evaluation, StoredRun.load(run), opened, threshold) if long_tail else []
    record = evaluation.to_dict()
    for q, (_, found) in zip(record["queries"], tails, strict=bool(tails)):
        q["long_tail"] = found.to_dict()
    write_json(target, record)
    if predictions is not None:
        write_predictions(predictions, evaluation, cast("list[Cache]", opened))
    print(evaluation.to_markdown(), end="")
    if tails:
        print("\n" + long_tail_table(tails), end="")
    if evaluation.left_out:
        say(f"left out: {quantity(evaluation.left_out, 'label')} of images without features")
    for note in evaluation.notes:
        say(f"note: {note}")
    say(f"written to {target}" + (f" and {predictions}" if predictions is not None else ""))
    words: list[str | Path] = [part for c in caches or () for part in ("--shards", c)]
    roots = [known_root(cache) for cache in used]
    if None not in roots:
        words += [part for root in roots if root for part in ("--root", root)]
    say_next("adapter", "report", run, words)


def _evaluate_fitted(
    folder: Path,
    caches: list[Path] | None,
    split: str,
    fold: int | None,
    target: Path,
    tail: dict[str, float | None] | None,
) -> None:
    """Measure a fitted method on its query in each cache; with ``tail``, its long tail too."""
    from adapter.evaluation.long_tail import long_tail_table
    from adapter.evaluation.metrics import METRIC_NAMES
    from adapter.evaluation.titles import TITLES
    from adapter.methods.fitted import Fitted
    from adapter.names import clean_names
    from featcache.reading.cache import Cache
    from featcache.storage.durable import prepare_target, write_json

    prepare_target(target)
    fitted = Fitted.load(folder)
    splits, notes = clean_names(split, commas=True), []
    found: list[dict[str, Any]] = []
    tails: list[tuple[str, LongTail]] = []
    for path in caches or [Path(fitted.record["cache"]["path"])]:
        cache = Cache.open(path)
        with working("evaluating"):
            measured = fitted.evaluate(cache, split=splits, fold=fold)
            notes += fitted.notes(cache, split=splits, fold=fold)
            one: dict[str, Any] = {
                "cache": str(path),
                "n": measured.images,
                "metrics": measured.metrics.to_dict(),
            }
            if measured.likeliest is not None:
                one["likeliest"] = measured.likeliest.to_dict()
            found.append(one)
            if tail is not None:
                regions = fitted.evaluate_long_tail(cache, split=splits, fold=fold, **tail)
                one["long_tail"] = regions.to_dict()
                tails.append((str(path), regions))
    record = {"method": fitted.record["method"], "query": fitted.query, "split": list(splits)}
    write_json(target, {**record, "caches": found})
    print(f"| cache | n | {' | '.join(TITLES[name] for name in METRIC_NAMES)} |")
    print("|---|---:|" + "---:|" * len(METRIC_NAMES))
    for row in found:
        for key, note in {"metrics": "", "likeliest": ", most likely class"}.items():
            if key not in row:
                continue
            values = [row[key][name] for name in METRIC_NAMES]
            shown = ["–" if value is None else f"{value:.3f}" for value in values]
            print(f"| {row['cache']}{note} | {row['n']} | {' | '.join(shown)} |")
    if tails:
        print("\n" + long_tail_table(tails), end="")
    for note in notes:
        say(f"note: {note}")
    say(f"written to {target}")
    say_next("adapter", "rank", folder, "--images", "PHOTOS", "--out", "ranked.html")


def _evaluate_members(
    run: Path,
    members: list[Path],
    caches: list[Path] | None,
    options: dict[str, Any],
    target: Path,
) -> None:
    """Evaluate every run of a folder, then print mean and spread."""
    from adapter.evaluation.evaluate import evaluate as measure
    from adapter.evaluation.spread import Spread
    from featcache.storage.durable import prepare_target, write_json

    for member in (target, *(folder / "eval.json" for folder in members)):
        prepare_target(member)
    found, notes = [], []
    for folder in members:
        with progress() as display:
            show = _shown_on(display, f"evaluating {folder}")
            used = caches or caches_of(folder)
            evaluation = measure(folder, used, **options, on_progress=show)
        write_json(folder / "eval.json", evaluation.to_dict())
        found.append(evaluation)
        notes += [f"{folder.relative_to(run)}: {note}" for note in evaluation.notes]
        mean = evaluation.overall(evaluation.rankings[0]).mean
        say(f"{folder}: SRCC {mean.srcc:.3f} by {evaluation.rankings[0]}")
    spread = Spread(evaluations=tuple(found))
    write_json(
        target,
        {
            "spread": spread.to_dict(),
            "notes": [*spread.notes, *notes],
            "runs": [evaluation.to_dict() for evaluation in found],
        },
    )
    print(spread.to_markdown(), end="")
    for note in (*spread.notes, *notes):
        say(f"note: {note}")
    say(f"written to {target} and to eval.json in each of {quantity(len(members), 'run')}")


def _shown_on(display: Progress, what: str) -> Callable[[int, int], None]:
    """Return what shows how many predictions are made."""
    display.show(what)
    return lambda done, total: display.show(what, done, total, unit="predictions")


def caches_of(run: Path) -> list[Path]:
    """Return the caches that a run was trained on."""
    from adapter.record import read_record

    return [Path(shard["path"]) for shard in read_record(run)["shards"]]

"""`adapter eval`: metrics of a run on labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.backbone import Device, PrecisionOption
from cli.console import say, say_next
from cli.places import known_root
from cli.progress import working
from cli.train import Queries, Tasks

RunFolder = Annotated[Path, typer.Argument(help="The run's folder.", metavar="RUN")]


def evaluate(
    run: RunFolder,
    caches: Annotated[
        list[Path] | None,
        typer.Option("--shards", help="A cache.  [default: those of the training]"),
    ] = None,
    split: Annotated[str, typer.Option(help="Whose labels, separated by commas.")] = "test",
    fold: Annotated[int | None, typer.Option(help="Of which fold.")] = None,
    query: Queries = None,
    task: Tasks = None,
    by: Annotated[
        str, typer.Option(help="score, comparison, or both.  [default: what the run has]")
    ] = "",
    method: Annotated[
        str, typer.Option(help="How comparisons become a ranking: bradley-terry or borda.")
    ] = "bradley-terry",
    relevance: Annotated[
        int | None, typer.Option(help="Evaluate relevance to this count (counting tasks).")
    ] = None,
    view: Annotated[str | None, typer.Option(help="Which view of the images.")] = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Where the JSON goes.  [default: RUN/eval.json]")
    ] = None,
) -> None:
    """Evaluate a run: PLCC, SRCC, Kendall's tau, MAE, accuracy, pairwise accuracy.

    Per query and averaged over queries. The table is Markdown, on standard output.

    **Examples**

    `adapter eval runs/ava`

    `adapter eval runs/ava --shards cache/koniq10k --split test --by both`
    """
    from adapter.errors import ConfigError
    from adapter.evaluation.evaluate import evaluate as measure
    from adapter.methods.fitted import is_fitted
    from featcache.storage.durable import write_json

    options: dict[str, Any] = {"both": ["score", "comparison"], "": None}
    rankings = options.get(by, [by])
    if method not in ("bradley-terry", "borda"):
        raise ConfigError(f"--method must be bradley-terry or borda, not {method!r}")
    if is_fitted(run):
        _evaluate_fitted(run, caches, split, fold, out or run / "eval.json")
        return
    with working("evaluating"):
        evaluation = measure(
            run,
            caches or caches_of(run),
            split=tuple(split.split(",")),
            fold=fold,
            queries=query or (),
            tasks=task or (),
            by=rankings,
            method=method,  # type: ignore[arg-type]  # checked above
            relevance=relevance,
            device=device,
            precision=precision,  # type: ignore[arg-type]  # checked by the library
            view=view,
        )
    target = out or run / "eval.json"
    write_json(target, evaluation.to_dict())
    print(evaluation.to_markdown(), end="")
    if evaluation.left_out:
        say(f"{evaluation.left_out:,} labels belong to images without features and were left out")
    say(f"written to {target}")
    words: list[str | Path] = [part for c in caches or () for part in ("--shards", c)]
    roots = [known_root(cache) for cache in caches or caches_of(run)]
    if None not in roots:
        words += [part for root in roots if root for part in ("--root", root)]
    say_next("adapter", "report", run, words)


def _evaluate_fitted(
    folder: Path, caches: list[Path] | None, split: str, fold: int | None, target: Path
) -> None:
    """Measure a fitted method on its query in each cache."""
    from adapter.evaluation.metrics import METRIC_NAMES
    from adapter.methods.fitted import Fitted
    from featcache.reading.cache import Cache
    from featcache.storage.durable import write_json

    fitted = Fitted.load(folder)
    splits = tuple(part.strip() for part in split.split(","))
    found: list[dict[str, Any]] = []
    for path in caches or [Path(fitted.record["cache"]["path"])]:
        with working("evaluating"):
            n, metrics = fitted.evaluate(Cache.open(path), split=splits, fold=fold)
        found.append({"cache": str(path), "n": n, "metrics": metrics.to_dict()})
    record = {"method": fitted.record["method"], "query": fitted.query, "split": list(splits)}
    write_json(target, {**record, "caches": found})
    print(f"| cache | n | {' | '.join(METRIC_NAMES)} |")
    print("|---|---:|" + "---:|" * len(METRIC_NAMES))
    for one in found:
        values = [one["metrics"][name] for name in METRIC_NAMES]
        shown = ["–" if value is None else f"{value:.3f}" for value in values]
        print(f"| {one['cache']} | {one['n']} | {' | '.join(shown)} |")
    say(f"written to {target}")
    say_next("adapter", "rank", folder, "--images", "PHOTOS", "--out", "ranked.html")


def caches_of(run: Path) -> list[Path]:
    """Return the caches that a run was trained on."""
    from adapter.record import read_record

    return [Path(shard["path"]) for shard in read_record(run)["shards"]]

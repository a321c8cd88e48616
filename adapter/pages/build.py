"""From a run and its caches to the content of a report.

    build_report(Path("runs/ava"), [Path("cache/ava")], roots=[Path("/data/ava")])

Beside the adapter stand the methods of ``baselines.py``: ridge regression, fitted to the training
labels of the same queries with the same views, and on demand CLIP as it comes. All are measured on
the same images. What is averaged is averaged over the same queries for all.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapter.data.identity import cache_titles
from adapter.errors import ConfigError
from adapter.evaluation.evaluate import evaluate
from adapter.evaluation.metrics import average_together, finite_or_none
from adapter.pages.baselines import (
    ABOUT,
    BEST_COMPARISON,
    BEST_SCORE,
    CLIP_IQA,
    COMPARISON,
    RIDGE,
    SCORE,
    ZERO_SHOT,
    Baselines,
)
from adapter.pages.margin import margin
from adapter.pages.page import QueryReport, ends, report_page, typical
from adapter.pages.thumbnails import make_thumbnails
from adapter.stored import StoredRun
from featcache.datasets.stand_in import NOTICE
from featcache.reading.cache import Cache
from featcache.storage.tables import ok_samples
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from adapter.evaluation.metrics import Metrics
    from adapter.evaluation.results import Evaluation, QueryEvaluation

NAMES = {"score": SCORE, "comparison": COMPARISON}
STACKED = {"score": BEST_SCORE, "comparison": BEST_COMPARISON}
STACK_TIME = "This time does not include the search for the weights of adapter and regression. "


def build_report(
    folder: Path,
    caches: Sequence[Path],
    *,
    roots: Sequence[Path] = (),
    split: Sequence[str] = ("test",),
    fold: int | None = None,
    device: str = "auto",
    max_images: int = 400,
    zero_shot: bool = False,
) -> tuple[str, dict[str, Any]]:
    """Evaluate a run and its baselines, and render the report.

    Args:
        folder: The run.
        caches: Caches to evaluate on.
        roots: Folders of the images, the first of the first cache and so on; images of a cache
            without one are shown by their names.
        split: Splits to show, such as ``test``.
        fold: Of which fold; that of the training by default.
        device: Where to compute.
        max_images: Images per query in the long lists.
        zero_shot: Measure what the backbone knows without training, too; its text tower is loaded.

    Returns:
        The page, and the metrics as JSON values.
    """
    run = StoredRun.load(folder)
    opened = [Cache.open(path) for path in caches]
    evaluation = evaluate(run, opened, split=split, fold=fold, device=device)
    if len(roots) > len(opened):
        raise ConfigError(f"{len(roots)} folders of images for {len(opened)} caches")
    settings = run.record["settings"]["train"]
    beside = [
        Baselines(
            cache,
            settings,
            evaluation.fold,
            zero_shot=zero_shot,
            average=run.stack is not None,
            device=device,
        )
        for cache in opened
    ]

    def report(query: QueryEvaluation) -> QueryReport:
        return _query(beside[query.cache], query)

    found = [report(query) for query in evaluation.averaged]
    # Means beside each other are over the same queries: those that every method has.
    methods = list(dict.fromkeys(name for query in found for name in query.metrics))
    compared = [query for query in found if list(query.metrics) == methods]
    averages = average_together([query.metrics for query in compared])
    means = {name: average.mean for name, average in averages.items()}
    apart = [query for query in found if list(query.metrics) != methods]
    apart += [report(query) for query in evaluation.apart]
    apart = [replace(query, compared=False) for query in apart]
    queries = [*compared, *apart]
    images = [(query.folder, path) for query in queries for path in query.paths]
    kinds = [STACKED, NAMES] if run.stack else [NAMES]
    margins = [margin(compared, means, names.values(), RIDGE.values()) for names in kinds]
    there = [found for found in margins if found is not None]
    lead = " ".join([_lead(run, opened, evaluation, means, compared), *map(str, there)])
    page = report_page(
        f"Ranked by {folder.name}",
        lead,
        queries,
        means,
        _facts(run, opened, evaluation),
        make_thumbnails(roots, images),
        max_images,
        about=ABOUT,
        banner=NOTICE if run.stand_in or any(cache.stand_in for cache in opened) else "",
    )
    return page, {
        "mean": {name: metrics.to_dict() for name, metrics in means.items()},
        "mean_of": len(compared),  # queries
        "lead": lead,
        "margins": [found.to_dict() for found in there],
        "first_screen": [_ends(compared[n]) for n in typical(compared)],
        "notes": list(evaluation.notes),
        "queries": [_values(query) for query in compared],
        "not_in_mean": [_values(query) for query in apart],
    }


def _ends(query: QueryReport) -> dict[str, Any]:
    """Return a query's images on the first screen as JSON values."""
    parts = {
        name: [
            {"path": query.paths[n], "predicted": query.scores[n], "true": query.values[n]}
            for n in numbers
        ]
        for name, numbers in ends(query).items()
    }
    return {
        "cache": query.folder,
        "query": query.query,
        "method": query.shown,
        "srcc": query.metrics[query.shown].srcc,
        **parts,
    }


def _values(query: QueryReport) -> dict[str, Any]:
    """Return a query's metrics as JSON values."""
    return {
        "cache": query.folder,
        "dataset": query.dataset,
        "task": query.task,
        "query": query.query,
        "n": len(query.values),
        "ceiling": finite_or_none(query.ceiling),
        "metrics": {name: metrics.to_dict() for name, metrics in query.metrics.items()},
    }


def _query(beside: Baselines, found: QueryEvaluation) -> QueryReport:
    """Put a run's metrics of a query below those of the other methods.

    Args:
        beside: The other methods.
        found: The run's predictions.
    """
    by = next(iter(found.predictions))
    names = STACKED if found.adapter else NAMES
    metrics, predictions = beside.measure(found)
    paths = ok_samples(beside.vectors.cache.samples)["path"]
    return QueryReport(
        folder=found.cache,
        dataset=found.dataset,
        task=found.task,
        query=found.query,
        paths=[str(path) for path in paths.take(found.rows).to_pylist()],
        values=found.values,
        scores=found.predictions[by],
        same_unit=by == "score",
        metrics={
            **metrics,
            **{NAMES[way]: m for way, m in found.adapter.items()},
            **{names[way]: m for way, m in found.metrics.items()},
        },
        predictions={
            **predictions,
            **{NAMES[way]: p for way, p in found.adapter_predictions.items()},
            **{names[way]: p for way, p in found.predictions.items()},
        },
        shown=names[by],
    )


def _lead(
    run: StoredRun,
    caches: Sequence[Cache],
    evaluation: Evaluation,
    means: Mapping[str, Metrics],
    compared: Sequence[QueryReport],
) -> str:
    """Say in a sentence or two what was learned, how quickly and where, and what came of it."""
    images = len({(query.folder, path) for query in compared for path in query.paths})
    splits = "/".join(evaluation.split)
    outcome = run.record["outcome"]
    if not outcome or not compared:
        return (
            f"{', '.join(cache_titles(caches))}: images of the {splits} split, ranked by text "
            "queries with an adapter that read only cached features."
        )
    count = sum(p.numel() for p in run.model.parameters())
    machine = run.record.get("machine")  # runs of before do not say
    found = {
        "both together": [means[name] for name in STACKED.values() if name in means],
        "the adapter": [means[name] for name in NAMES.values() if name in means],
        "ridge regression on the same features": [
            means[name] for name in RIDGE.values() if name in means
        ],
        "the backbone alone": [means[name] for name in (ZERO_SHOT, CLIP_IQA) if name in means],
    }
    best = [(who, max(m.srcc for m in some)) for who, some in found.items() if some]
    reached = ", ".join(f"{who} {value:.3f}" for who, value in best)
    return (
        f"An adapter of {quantity(count, 'parameter')} learned to sort images by "
        f"{quantity(len(run.queries), 'query', 'queries')} in {outcome['seconds']:.0f} seconds"
        f"{f' on {machine}' if machine else ''}, from cached features of a frozen backbone. "
        f"{_other_time(run)}"
        f"Mean SRCC on the {quantity(images, 'image')} of the {splits} split: {reached}."
    )


def _other_time(run: StoredRun) -> str:
    """Say what a run's seconds do not hold."""
    settings = run.record["settings"]["train"]
    if run.stack is None:
        return ""
    if not settings.get("stack_once"):
        return STACK_TIME
    before = round(settings["stack_steps"] * settings["steps"])
    return f"Before these seconds, it did {quantity(before, 'step')} without a part of the images. "


def _facts(run: StoredRun, caches: Sequence[Cache], evaluation: Evaluation) -> dict[str, str]:
    """List what made the numbers."""
    record, first = run.record, caches[0]
    settings, outcome = record["settings"], record["outcome"] or {}
    backbone = first.fingerprint.backbone
    left_out = (
        [f"left out: {quantity(evaluation.left_out, 'label')} of images without features"]
        if evaluation.left_out
        else []
    )
    facts = {
        "data": "; ".join(f"{c.dataset}, {quantity(len(c), 'image')}, {c.path}" for c in caches),
        "backbone": f"{backbone['architecture']}, weights {backbone['weights'][:16]}, projection "
        f"{json.dumps(backbone['projection'])}, token pool {backbone['token_pool']}",
        "features": f"{first.shapes.num_tokens} x {first.shapes.token_dim} "
        f"{first.fingerprint.dtype}, views {', '.join(first.views)}, fingerprint "
        f"{first.fingerprint.digest}",
        "adapter": _changes(settings["model"]),
        "losses": _changes(settings["loss"]),
        "training": _changes(
            {k: v for k, v in settings["train"].items() if not isinstance(v, dict)}
        ),
        "sampling": _changes(settings["train"]["sampling"]),
        "optimizer": _changes(settings["train"]["optim"]),
        "evaluation": "; ".join(
            [
                evaluation.precision,
                *left_out,
                *evaluation.notes,
            ]
        ),
        "versions": ", ".join(f"{k} {v}" for k, v in record["versions"].items()),
    }
    if outcome:
        facts["time"] = f"{quantity(outcome['steps'], 'step')} in {outcome['seconds']:.0f} s"
    return facts


def _changes(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())

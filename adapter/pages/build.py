"""From a run and its caches to the content of a report.

    build_report(Path("runs/ava"), [Path("cache/ava")], roots=[Path("/data/ava")])

Beside the adapter, ridge regression on the mean of the same cache's tokens, on its pooled
embeddings and on both is fitted to the training labels of the same queries, with the same views,
and measured on the same images. What is averaged is averaged over the same queries for all.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapter.data.identity import cache_titles
from adapter.data.labels import select_labels
from adapter.errors import ConfigError, LabelsError
from adapter.evaluation.evaluate import evaluate
from adapter.evaluation.metrics import Metrics, average_together, measure
from adapter.methods.method import ImageVectors, Part
from adapter.methods.ridge import fit_probe
from adapter.pages.page import QueryReport, report_page
from adapter.pages.thumbnails import make_thumbnails
from adapter.stored import StoredRun
from featcache.reading.cache import Cache
from featcache.storage.tables import ok_samples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from adapter.evaluation.results import Evaluation, QueryEvaluation
    from adapter.methods.method import Features

NAMES = {"score": "adapter, score", "comparison": "adapter, by comparison"}
RIDGE: dict[Features, str] = {
    "tokens": "ridge on mean tokens",
    "pooled": "ridge on pooled embedding",
    "both": "ridge on both",
}


def build_report(
    folder: Path,
    caches: Sequence[Path],
    *,
    roots: Sequence[Path] = (),
    split: Sequence[str] = ("test",),
    fold: int | None = None,
    device: str = "auto",
    max_images: int = 400,
) -> tuple[str, dict[str, Any]]:
    """Evaluate a run and its baselines, and render the report.

    Args:
        folder: The run.
        caches: Caches to evaluate on.
        roots: Folders of the images, the first of the first cache and so on; images of a cache
            without one are shown by their names.
        split: Whose labels.
        fold: Of which fold; that of the training by default.
        device: Where to compute.
        max_images: Images per query in the long lists.

    Returns:
        The page, and the metrics as JSON values.
    """
    run = StoredRun.load(folder)
    opened = [Cache.open(path) for path in caches]
    evaluation = evaluate(run, opened, split=split, fold=fold, device=device)
    if len(roots) > len(opened):
        raise ConfigError(f"{len(roots)} folders of images for {len(opened)} caches")
    vectors = [ImageVectors(cache, cache.views[0]) for cache in opened]
    found = [_query(run, vectors[q.cache], q, evaluation.fold) for q in evaluation.averaged]
    # Means beside each other are over the same queries: those that every method has.
    methods = list(dict.fromkeys(name for query in found for name in query.metrics))
    compared = [query for query in found if list(query.metrics) == methods]
    averages = average_together([query.metrics for query in compared])
    means = {name: average.mean for name, average in averages.items()}
    apart = [query for query in found if list(query.metrics) != methods]
    apart += [_query(run, vectors[q.cache], q, evaluation.fold) for q in evaluation.apart]
    apart = [replace(query, compared=False) for query in apart]
    queries = [*compared, *apart]
    titles = cache_titles(opened)
    images = [(query.folder, path) for query in queries for path in query.paths]
    page = report_page(
        f"Ranked by {folder.name}",
        f"{', '.join(titles)}: images of the {'/'.join(split)} split, ranked by text queries "
        "with an adapter that saw nothing but cached features.",
        queries,
        means,
        _facts(run, opened, evaluation),
        make_thumbnails(roots, images),
        max_images,
    )
    return page, {
        "mean": {name: metrics.to_dict() for name, metrics in means.items()},
        "mean_of": len(compared),  # queries
        "notes": list(evaluation.notes),
        "queries": [_values(query) for query in compared],
        "not_in_mean": [_values(query) for query in apart],
    }


def _values(query: QueryReport) -> dict[str, Any]:
    """Return a query's metrics as JSON values."""
    return {
        "cache": query.folder,
        "dataset": query.dataset,
        "task": query.task,
        "query": query.query,
        "n": len(query.values),
        "metrics": {name: metrics.to_dict() for name, metrics in query.metrics.items()},
    }


def _query(
    run: StoredRun, vectors: ImageVectors, found: QueryEvaluation, fold: int | None
) -> QueryReport:
    """Put the adapter's metrics of a query beside those of the baselines."""
    metrics: dict[str, Metrics] = {NAMES[by]: m for by, m in found.metrics.items()}
    metrics |= _ridge(run, vectors, found, fold)
    by = next(iter(found.predictions))
    paths = ok_samples(vectors.cache.samples)["path"]
    return QueryReport(
        folder=found.cache,
        dataset=found.dataset,
        task=found.task,
        query=found.query,
        paths=[str(path) for path in paths.take(found.rows).to_pylist()],
        values=found.values,
        scores=found.predictions[by],
        same_unit=by == "score",
        metrics=metrics,
    )


def _ridge(
    run: StoredRun, vectors: ImageVectors, found: QueryEvaluation, fold: int | None
) -> dict[str, Metrics]:
    """Fit and measure ridge regression for one query; nothing where it has no training labels."""
    settings = run.record["settings"]["train"]
    names = [found.query]
    try:
        training = select_labels(
            vectors.cache, split=settings["split"], fold=fold, queries=names, tasks=[found.task]
        ).queries
    except LabelsError:  # labeled for the test alone: there is nothing to fit
        return {}
    labels, metrics = training[0], {}
    low, high = float(labels.values.min()), float(labels.values.max())
    part = Part(rows=labels.rows, values=labels.values)
    views = tuple(settings["sampling"]["views"])
    for features, name in RIDGE.items():
        predicted = fit_probe(vectors, features, part, views).predict(vectors, found.rows).values
        metrics[name] = measure(found.values, predicted, label_range=(low, high))
    return metrics


def _facts(run: StoredRun, caches: Sequence[Cache], evaluation: Evaluation) -> dict[str, str]:
    """List what made the numbers."""
    record, first = run.record, caches[0]
    settings, outcome = record["settings"], record["outcome"] or {}
    backbone = first.fingerprint.backbone
    facts = {
        "data": "; ".join(f"{c.dataset}, {len(c):,} images, {c.path}" for c in caches),
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
                f"{evaluation.precision}, {evaluation.left_out} labels without features left out",
                *evaluation.notes,
            ]
        ),
        "versions": ", ".join(f"{k} {v}" for k, v in record["versions"].items()),
    }
    if outcome:
        facts["time"] = f"{outcome['steps']} steps in {outcome['seconds']:.0f} s"
    return facts


def _changes(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())

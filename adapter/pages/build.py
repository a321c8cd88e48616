"""From a run and its caches to the content of a report.

    build_report(Path("runs/ava"), [Path("cache/ava")], roots=[Path("/data/ava")])

Beside the adapter, ridge regression on the mean of the same cache's tokens, and on its pooled
embeddings, is fitted to the training labels of the same queries and measured on the same images.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from adapter.data.identity import cache_titles
from adapter.data.labels import select_labels
from adapter.errors import ConfigError, LabelsError
from adapter.evaluation.evaluate import Evaluation, QueryEvaluation, evaluate
from adapter.evaluation.metrics import Metrics, average, measure
from adapter.methods.method import ImageVectors
from adapter.methods.ridge import fit_ridge, standardizer
from adapter.pages.page import QueryReport, report_page
from adapter.pages.thumbnails import make_thumbnails
from adapter.run import Run
from featcache.reading.cache import Cache
from featcache.storage.tables import ok_samples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from adapter.methods.method import Features

NAMES = {"score": "adapter, score", "comparison": "adapter, by comparison"}
RIDGE: dict[Features, str] = {
    "tokens": "ridge on mean tokens",
    "pooled": "ridge on pooled embedding",
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
    run = Run.load(folder)
    opened = [Cache.open(path) for path in caches]
    evaluation = evaluate(run, opened, split=split, fold=fold, device=device)
    if len(roots) > len(opened):
        raise ConfigError(f"{len(roots)} folders of images for {len(opened)} caches")
    vectors = [ImageVectors(cache) for cache in opened]
    queries = [_query(run, vectors[q.cache], q, evaluation.fold) for q in evaluation.queries]
    methods = list(dict.fromkeys(name for query in queries for name in query.metrics))
    means = {
        name: average([q.metrics[name] for q in queries if name in q.metrics]).mean
        for name in methods
    }
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
        "queries": [
            {
                "cache": q.folder,
                "dataset": q.dataset,
                "task": q.task,
                "query": q.query,
                "n": len(q.values),
                "metrics": {name: m.to_dict() for name, m in q.metrics.items()},
            }
            for q in queries
        ],
    }


def _query(
    run: Run, vectors: ImageVectors, found: QueryEvaluation, fold: int | None
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
    run: Run, vectors: ImageVectors, found: QueryEvaluation, fold: int | None
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
    for features, name in RIDGE.items():
        x = vectors.of(features, labels.rows)  # [n, F]
        mean, scale = standardizer(x)
        fit = fit_ridge((x - mean) / scale, labels.values)
        test = (vectors.of(features, found.rows) - mean) / scale  # [m, F]
        predicted = test @ fit.weights + fit.intercept
        metrics[name] = measure(found.values, predicted, label_range=(low, high))
    return metrics


def _facts(run: Run, caches: Sequence[Cache], evaluation: Evaluation) -> dict[str, str]:
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
        "images": f"{evaluation.left_out} labels without features left out",
        "versions": ", ".join(f"{k} {v}" for k, v in record["versions"].items()),
    }
    if outcome:
        facts["time"] = f"{outcome['steps']} steps in {outcome['seconds']:.0f} s"
    return facts


def _changes(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())

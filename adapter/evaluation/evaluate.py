"""Metrics of a trained adapter on a cache's labels, per query.

    evaluation = evaluate(Path("run"), [Path("cache/koniq10k")], split="test")
    print(evaluation.to_markdown())

Predictions come from ``predict.py``: those by score are in the labels' unit, those by comparison
have none. For counting tasks the paper's protocol looks only at images with a count of at least
one; those metrics stand beside the ones over all labels. Means and tables are in ``results.py``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from adapter.data.identity import cache_titles
from adapter.data.labels import select_labels
from adapter.data.pools import counting
from adapter.data.sampling import relevant_labels
from adapter.data.selectors import choose_fold, choose_patterns, choose_splits
from adapter.data.usable import other_fold, seen_before
from adapter.errors import LabelsError
from adapter.evaluation.metrics import CORRELATIONS, measure
from adapter.evaluation.predict import choose_rankings, choose_view, predict_rankings, predict_run
from adapter.evaluation.results import Evaluation, QueryEvaluation
from adapter.network.comparison import opponents_of
from adapter.stored import StoredRun, open_caches
from featcache.devices import choose_precision, pick_device

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from adapter.data.labels import FeatureCache, LabelSelection, QueryLabels
    from adapter.data.targets import TargetScales
    from adapter.evaluation.metrics import Metrics
    from adapter.evaluation.predict import Array, By, RunPrediction
    from adapter.network.comparison import Method, Opponents
    from adapter.network.model import RankingAdapter
    from featcache.devices import Precision


def evaluate(
    run: str | Path | StoredRun,
    caches: Sequence[str | Path | FeatureCache],
    *,
    split: str | Sequence[str] = ("test",),
    fold: int | None = None,
    queries: Sequence[str] = (),
    tasks: Sequence[str] = (),
    by: Sequence[By] | None = None,
    method: Method = "bradley-terry",
    opponents: Opponents = None,
    relevance: int | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    view: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Evaluate a run on the labels of one or several caches.

    Args:
        run: A run, or its folder.
        caches: Caches, as paths or opened.
        split: Splits to evaluate, such as ``val`` or ``test``.
        fold: The fold; that of the training when left out.
        queries: Names or shell patterns; none means those that the run was trained on.
        tasks: The same for tasks.
        by: How to rank; by every head of the adapter when left out.
        method: How pair logits become a ranking.
        opponents: How many others each image is compared with, or ``all``; None chooses.
        relevance: Evaluate relevance to this count (the paper's B.1): the prompt says so, and
            the label is the distance to it. Counting tasks only.
        device: Where to compute.
        precision: Of the network; ``auto`` is that of the training, on any device.
        view: Name of the view; the cache's first when left out.
        on_progress: Called with the predictions done and to do.

    Returns:
        Predictions and metrics.

    Raises:
        LabelsError: No label matches, a name is not that of a split, fold, query or task, or a
            prompt has no tokens.
        FingerprintMismatchError: A cache's features are not those of the run.
        ConfigError: The adapter has no head for ``by``, or there is no such view.
    """
    run = run if isinstance(run, StoredRun) else StoredRun.load(run)
    train = run.record["settings"]["train"]
    opened = open_caches(caches)
    for cache in opened:
        run.require_features(cache)
    splits = choose_splits(opened, split)
    fold = train["fold"] if fold is None else choose_fold(opened, fold)
    queries = choose_patterns(opened, "query", queries) or tuple(train["queries"])
    tasks = choose_patterns(opened, "task", tasks) or tuple(train["tasks"])
    view = None if view is None else choose_view(opened, view)
    place = pick_device(device)
    precision = choose_precision(run.precision(precision), place)
    rankings = choose_rankings(run.model.to(place).eval(), by)
    found: list[QueryEvaluation] = []
    notes = _about_run(run, fold, precision)
    left_out = 0
    titles = cache_titles(opened)
    trained = run.queries
    selections = [
        select_labels(cache, split=splits, fold=fold, queries=queries, tasks=tasks)
        for cache in opened
    ]
    if "comparison" in rankings:
        notes += _about_opponents([q for s in selections for q in s.queries], opponents, method)
    total, done = sum(len(q.rows) for chosen in selections for q in chosen.queries), 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        on_progress(done, total)

    for number, (cache, chosen) in enumerate(zip(opened, selections, strict=True)):
        left_out += chosen.left_out
        notes += _about_training(run, cache, titles[number], chosen)
        counts = train["sampling"]["counting_tasks"]
        for labels in chosen.queries:
            counted = counting(labels.task, counts)
            known = not trained or labels.query in trained
            if relevance is not None:
                if not counted:
                    count(len(labels.rows))
                    continue
                labels = relevant_labels(labels, relevance)
            predicted = predict_run(
                run,
                cache,
                labels.query,
                labels.rows,
                rankings,
                task=labels.task,
                device=place,
                precision=precision,
                view=view,
                method=method,
                opponents=opponents,
                on_images=count,
            )
            scale = run.scale(cache, labels.query, labels.task)
            label_range = (scale.low, scale.high) if np.isfinite(scale.low) else None
            found.append(
                _measured(
                    number,
                    titles[number],
                    labels,
                    predicted,
                    label_range,
                    positive=counted and relevance is None,
                    trained=known,
                )
            )
    if not found:
        raise LabelsError("relevance to a count can be evaluated on counting tasks only")
    return Evaluation(
        run=str(run.folder),
        split=splits,
        fold=fold,
        precision=precision,
        queries=tuple(found),
        left_out=left_out,
        notes=tuple(notes),
    )


def _about_run(run: StoredRun, fold: int | None, precision: Precision) -> list[str]:
    """Say where an evaluation is not as the training was."""
    notes = other_fold(fold, run.record["settings"]["train"]["fold"])
    if precision != run.record.get("precision", precision):
        notes.append(
            f"computed in {precision}; the run was trained in {run.record['precision']}, which "
            "gives slightly other numbers"
        )
    return notes


def _about_opponents(
    queries: Sequence[QueryLabels], opponents: Opponents, method: Method
) -> list[str]:
    """Say where not all pairs of images are compared."""
    counts = {opponents_of(len(q.rows), opponents, method) for q in queries} - {None}
    return [f"comparison: each image meets {count} others, not all" for count in counts]


def _about_training(
    run: StoredRun, cache: FeatureCache, title: str, chosen: LabelSelection
) -> list[str]:
    """Say how many of the evaluated images the run was trained on."""
    if run.position(cache) is None:
        return []
    train = run.record["settings"]["train"]
    try:
        trained = select_labels(
            cache,
            split=train["split"],
            fold=train["fold"],
            queries=train["queries"],
            tasks=train["tasks"],
        )
    except LabelsError:  # the cache has other labels now: none of the training's is left
        return []
    evaluated, seen = (np.concatenate([q.rows for q in one.queries]) for one in (chosen, trained))
    return seen_before(title, evaluated, seen, train["split"])


def validation_value(
    model: RankingAdapter,
    caches: Sequence[FeatureCache],
    selections: Sequence[LabelSelection],
    scales: TargetScales,
    name: str,
    *,
    device: torch.device,
    precision: Precision,
) -> float:
    """Mean of one metric over all validation queries; NaN where it is defined for none.

    Ranks by score where the adapter has that head, else by comparison. Every step is measured on
    the same queries: a correlation of labels that differ with predictions that are equal counts
    as 0 beside others.
    """
    model.eval()
    way: By = "score" if model.config.score_head else "comparison"
    values: list[float] = []
    orderless: list[bool] = []  # whether an undefined value is that of equal predictions
    for number, (cache, selection) in enumerate(zip(caches, selections, strict=True)):
        for labels in selection.queries:
            predicted = predict_rankings(
                model, cache, labels.rows, labels.query, [way], device=device, precision=precision
            )[way]
            if way == "score":
                predicted = scales.of_task(number, labels.task).restore(predicted)
            value = getattr(measure(labels.values, predicted, in_units=way == "score"), name)
            values.append(value)
            orderless.append(name in CORRELATIONS and bool(np.ptp(labels.values) > 0))
    defined = ~np.isnan(values)
    if not defined.any():
        return math.nan
    return float(np.nan_to_num(values)[defined | orderless].mean())


def _measured(
    cache: int,
    dataset: str,
    labels: QueryLabels,
    predicted: RunPrediction,
    label_range: tuple[float, float] | None,
    *,
    positive: bool,
    trained: bool,
) -> QueryEvaluation:
    """Measure one query, over all labels and, for counts, over those from one on."""

    def over(keep: NDArray[np.bool_], predictions: dict[By, Array]) -> dict[By, Metrics]:
        return {
            by: measure(
                labels.values[keep], p[keep], label_range=label_range, in_units=by == "score"
            )
            for by, p in predictions.items()
        }

    counted, all_of_them = labels.values >= 1, np.ones(len(labels.rows), bool)
    alone = predicted.adapter or {}
    return QueryEvaluation(
        cache=cache,
        dataset=dataset,
        task=labels.task,
        query=labels.query,
        rows=labels.rows,
        values=labels.values,
        predictions=predicted.values,
        metrics=over(all_of_them, predicted.values),
        adapter=over(all_of_them, alone),
        adapter_predictions=alone,
        positive=over(counted, predicted.values) if positive else None,
        positive_n=int(counted.sum()) if positive else 0,
        trained=trained,
    )

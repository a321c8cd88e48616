"""Metrics of a trained adapter on a cache's labels, per query, and tables of them.

    evaluation = evaluate(Path("run"), [Path("cache/koniq10k")], split="test")
    print(evaluation.to_markdown())

Predictions come from ``predict.py``: those by score are in the labels' unit, those by comparison
have none. Metrics are per query, then averaged over queries with equal weight, as in the paper. For
counting tasks the paper's protocol looks only at images with a count of at least one; those metrics
stand beside the ones over all labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.data.identity import cache_titles
from adapter.data.labels import select_labels
from adapter.data.pools import counting
from adapter.data.sampling import relevant_labels
from adapter.errors import LabelsError
from adapter.evaluation.metrics import average, measure
from adapter.evaluation.predict import choose_rankings, predict_rankings
from adapter.evaluation.titles import TITLES
from adapter.run import Run, open_caches
from featcache.devices import choose_precision, pick_device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from adapter.data.labels import FeatureCache, LabelSelection, QueryLabels
    from adapter.data.targets import TargetScales
    from adapter.evaluation.metrics import Average, Metrics
    from adapter.evaluation.predict import Array, By
    from adapter.network.comparison import Method
    from adapter.network.model import RankingAdapter
    from featcache.devices import Precision


@dataclass(frozen=True, kw_only=True)
class QueryEvaluation:
    """One query on one cache.

    Attributes:
        cache: Number of the cache in the evaluation, from 0.
        dataset: Name of its data set, and its place where two caches share a name.
        task: The query's task.
        query: The prompt of the labels.
        rows: int64 [n], the images.
        values: float64 [n], their labels.
        predictions: Per way of ranking, float64 [n].
        metrics: Per way of ranking.
        positive: The same over images with a label of at least one; for counting tasks.
        positive_n: How many those are.
    """

    cache: int
    dataset: str
    task: str
    query: str
    rows: NDArray[np.int64]
    values: Array
    predictions: Mapping[By, Array]
    metrics: Mapping[By, Metrics]
    positive: Mapping[By, Metrics] | None
    positive_n: int

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the predictions."""
        result: dict[str, Any] = {
            "cache": self.cache,
            "dataset": self.dataset,
            "task": self.task,
            "query": self.query,
            "n": len(self.rows),
            "metrics": {by: m.to_dict() for by, m in self.metrics.items()},
        }
        if self.positive is not None:
            result["positive_n"] = self.positive_n
            result["positive"] = {by: m.to_dict() for by, m in self.positive.items()}
        return result


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All queries of an evaluation.

    Attributes:
        run: The run's folder.
        split: Which labels.
        fold: Of which fold.
        queries: One entry per data set and query.
        left_out: Labels whose image has no features.
    """

    run: str
    split: tuple[str, ...]
    fold: int | None
    queries: tuple[QueryEvaluation, ...]
    left_out: int

    @property
    def rankings(self) -> tuple[By, ...]:
        """The ways of ranking that were evaluated."""
        return tuple(self.queries[0].metrics)

    def overall(self, by: By, task: tuple[str, str] | None = None) -> Average:
        """Average over queries; of one (data set, task) if given."""
        return average(q.metrics[by] for q in self._of(task))

    def overall_positive(self, by: By, task: tuple[str, str] | None = None) -> Average | None:
        """Average over counting queries, images with a count of at least one."""
        found = [q.positive[by] for q in self._of(task) if q.positive is not None]
        return average(found) if found else None

    @property
    def tasks(self) -> tuple[tuple[str, str], ...]:
        """Every (data set, task), in order."""
        return tuple(dict.fromkeys((q.dataset, q.task) for q in self.queries))

    def _of(self, task: tuple[str, str] | None) -> list[QueryEvaluation]:
        return [q for q in self.queries if task in (None, (q.dataset, q.task))]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "run": self.run,
            "split": list(self.split),
            "fold": self.fold,
            "left_out": self.left_out,
            "mean": {by: self.overall(by).to_dict() for by in self.rankings},
            "mean_positive": {
                by: positive.to_dict()
                for by in self.rankings
                if (positive := self.overall_positive(by)) is not None
            },
            "tasks": [
                {
                    "dataset": dataset,
                    "task": task,
                    "mean": {
                        by: self.overall(by, (dataset, task)).to_dict() for by in self.rankings
                    },
                }
                for dataset, task in self.tasks
            ],
            "queries": [q.to_dict() for q in self.queries],
        }

    def to_markdown(self) -> str:
        """Return a table: every query, then the means of each task and of all queries."""
        lines = [
            f"| data set | task | query | by | n | {' | '.join(TITLES.values())} |",
            "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for q in self.queries:
            for by in self.rankings:
                name = [q.dataset, q.task, q.query, by]
                lines.append(_row([*name, str(len(q.rows))], q.metrics[by]))
                if q.positive is not None and q.positive_n < len(q.rows):
                    labels = [*name[:2], f"{q.query} (counts from 1)", by, str(q.positive_n)]
                    lines.append(_row(labels, q.positive[by]))
        several = len(self.tasks) > 1
        zeros = any(q.positive_n < len(q.rows) for q in self.queries if q.positive is not None)
        for task in (*(self.tasks if several else ()), None):
            for by in self.rankings:
                name = [*(task or ("all", "all"))]
                mean = self.overall(by, task)
                count = str(len(self._of(task)))
                lines.append(_row([*name, f"mean of {count}", by, ""], mean.mean))
                positive = self.overall_positive(by, task)
                if positive is not None and zeros:
                    count = str(positive.queries["mae"] or positive.queries["srcc"])
                    labels = [*name, f"mean of {count} (counts from 1)", by, ""]
                    lines.append(_row(labels, positive.mean))
        return "\n".join(lines) + "\n"


def evaluate(
    run: str | Path | Run,
    caches: Sequence[str | Path | FeatureCache],
    *,
    split: str | Sequence[str] = ("test",),
    fold: int | None = None,
    queries: Sequence[str] = (),
    tasks: Sequence[str] = (),
    by: Sequence[By] | None = None,
    method: Method = "bradley-terry",
    relevance: int | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    view: str | None = None,
) -> Evaluation:
    """Evaluate a run on the labels of one or several caches.

    Args:
        run: A run, or its folder.
        caches: Caches, as paths or opened.
        split: Whose labels.
        fold: Of which fold; the one that the run was trained on when left out.
        queries: Names or shell patterns; none means those that the run was trained on.
        tasks: The same for tasks.
        by: How to rank; every way that the adapter has a head for when left out.
        method: How pair logits become a ranking.
        relevance: Evaluate relevance to this count (the paper's B.1): the prompt says so, and
            the label is the distance to it. Counting tasks only.
        device: Where to compute.
        precision: Of the network.
        view: Name of the view; the cache's first when left out.

    Returns:
        Predictions and metrics.

    Raises:
        LabelsError: No label matches, or a prompt has no tokens.
        FingerprintMismatchError: A cache's features are not those of the run.
        ConfigError: The adapter has no head for a way of ranking.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    train = run.record["settings"]["train"]
    fold = train["fold"] if fold is None else fold
    splits = (split,) if isinstance(split, str) else tuple(split)
    place = pick_device(device)
    precision = choose_precision(precision, place)
    model = run.model.to(place).eval()
    rankings = choose_rankings(model, by)
    found: list[QueryEvaluation] = []
    left_out = 0
    opened = open_caches(caches)
    titles = cache_titles(opened)
    for number, cache in enumerate(opened):
        run.require_features(cache)
        chosen = select_labels(
            cache,
            split=splits,
            fold=fold,
            queries=queries or train["queries"],
            tasks=tasks or train["tasks"],
        )
        left_out += chosen.left_out
        counts = train["sampling"]["counting_tasks"]
        for labels in chosen.queries:
            counted = counting(labels.task, counts)
            if relevance is not None:
                if not counted:
                    continue
                labels = relevant_labels(labels, relevance)
            predictions = predict_rankings(
                model,
                cache,
                labels.rows,
                labels.query,
                rankings,
                device=place,
                precision=precision,
                view=view,
                method=method,
            )
            scale = run.scale(cache, labels.query, labels.task)
            if "score" in predictions:
                predictions["score"] = scale.restore(predictions["score"])
            label_range = (scale.low, scale.high) if np.isfinite(scale.low) else None
            found.append(
                _measured(
                    number,
                    titles[number],
                    labels,
                    predictions,
                    label_range,
                    positive=counted and relevance is None,
                )
            )
    if not found:
        raise LabelsError("relevance to a count can be evaluated on counting tasks only")
    return Evaluation(
        run=str(run.folder), split=splits, fold=fold, queries=tuple(found), left_out=left_out
    )


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

    Ranks by score where the adapter has that head, else by comparison.
    """
    model.eval()
    way: By = "score" if model.config.score_head else "comparison"
    metrics = []
    for number, (cache, selection) in enumerate(zip(caches, selections, strict=True)):
        for labels in selection.queries:
            predicted = predict_rankings(
                model, cache, labels.rows, labels.query, [way], device=device, precision=precision
            )[way]
            if way == "score":
                predicted = scales.of_task(number, labels.task).restore(predicted)
            metrics.append(measure(labels.values, predicted, in_units=way == "score"))
    return float(getattr(average(metrics).mean, name))


def _measured(
    cache: int,
    dataset: str,
    labels: QueryLabels,
    predictions: dict[By, Array],
    label_range: tuple[float, float] | None,
    *,
    positive: bool,
) -> QueryEvaluation:
    """Measure one query, over all labels and, for counts, over those from one on."""

    def over(keep: NDArray[np.bool_]) -> dict[By, Metrics]:
        return {
            by: measure(
                labels.values[keep], p[keep], label_range=label_range, in_units=by == "score"
            )
            for by, p in predictions.items()
        }

    counted = labels.values >= 1
    return QueryEvaluation(
        cache=cache,
        dataset=dataset,
        task=labels.task,
        query=labels.query,
        rows=labels.rows,
        values=labels.values,
        predictions=predictions,
        metrics=over(np.ones(len(labels.rows), bool)),
        positive=over(counted) if positive else None,
        positive_n=int(counted.sum()) if positive else 0,
    )


def _row(names: Sequence[str], metrics: Metrics) -> str:
    """Format one line of the table; a metric that is not defined is a dash."""
    cells = [name.replace("|", "\\|") for name in names]
    cells += ["–" if v is None else f"{v:.3f}" for v in metrics.to_dict().values()]
    return "| " + " | ".join(cells) + " |"

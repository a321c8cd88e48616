"""What an evaluation found: metrics per query, their means, and the table of them.

Metrics are per query, then averaged over queries with equal weight, as in the paper. Means that
stand in one table are over one set of queries: those that the run was trained on, where each metric
is defined for every way of ranking. Queries that were never trained have their metrics, and their
mean, apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adapter.evaluation.metrics import average_together
from adapter.evaluation.titles import TITLES
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from adapter.evaluation.metrics import Average, Metrics
    from adapter.evaluation.predict import Array, By


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
        trained: Whether the run was trained on this query.
        adapter: Metrics of the adapter alone, where the run adds a regression to it.
        adapter_predictions: And what it predicts, like ``predictions``.
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
    trained: bool = True
    adapter: Mapping[By, Metrics] = field(default_factory=dict)
    adapter_predictions: Mapping[By, Array] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the predictions."""
        result: dict[str, Any] = {
            "cache": self.cache,
            "dataset": self.dataset,
            "task": self.task,
            "query": self.query,
            "n": len(self.rows),
            "trained": self.trained,
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
        precision: Of the network.
        queries: One entry per cache and query.
        left_out: Labels whose image has no features.
        notes: What a reader of the numbers should know, one sentence each.
    """

    run: str
    split: tuple[str, ...]
    fold: int | None
    precision: str
    queries: tuple[QueryEvaluation, ...]
    left_out: int
    notes: tuple[str, ...] = ()

    @property
    def rankings(self) -> tuple[By, ...]:
        """What ranked: ``score``, ``comparison``, or both."""
        return tuple(self.queries[0].metrics)

    @property
    def averaged(self) -> tuple[QueryEvaluation, ...]:
        """The queries that means are over: the trained ones, or all where none was trained."""
        return tuple(q for q in self.queries if q.trained) or self.queries

    @property
    def apart(self) -> tuple[QueryEvaluation, ...]:
        """The other queries."""
        if not any(q.trained for q in self.queries):
            return ()
        return tuple(q for q in self.queries if not q.trained)

    def overall(self, by: By, task: tuple[str, str] | None = None) -> Average:
        """Average over queries; of one (data set, task) if given."""
        return average_together([q.metrics for q in self._of(task)])[by]

    def overall_apart(self, by: By) -> Average | None:
        """Average over the queries that were never trained, if there are some beside others."""
        return average_together([q.metrics for q in self.apart])[by] if self.apart else None

    def overall_positive(self, by: By, task: tuple[str, str] | None = None) -> Average | None:
        """Average over counting queries, images with a count of at least one."""
        found = [q.positive for q in self._of(task) if q.positive is not None]
        return average_together(found)[by] if found else None

    @property
    def tasks(self) -> tuple[tuple[str, str], ...]:
        """Every (data set, task) that is averaged, in order."""
        return tuple(dict.fromkeys((q.dataset, q.task) for q in self.averaged))

    def _of(self, task: tuple[str, str] | None) -> list[QueryEvaluation]:
        return [q for q in self.averaged if task in (None, (q.dataset, q.task))]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        value: dict[str, Any] = {
            "run": self.run,
            "split": list(self.split),
            "fold": self.fold,
            "precision": self.precision,
            "left_out": self.left_out,
            "notes": list(self.notes),
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
        if self.apart:
            value["mean_not_trained"] = {
                by: mean.to_dict()
                for by in self.rankings
                if (mean := self.overall_apart(by)) is not None
            }
        return value

    def to_markdown(self) -> str:
        """Return a table: every query, the means of each task and of all, and what is apart."""
        lines = [
            f"| data set | task | query | by | n | {' | '.join(TITLES.values())} |",
            "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for q in self.averaged:
            lines += self._query_rows(q, q.query)
        several = len(self.tasks) > 1
        zeros = any(q.positive_n < len(q.rows) for q in self.averaged if q.positive is not None)
        for task in (*(self.tasks if several else ()), None):
            for by in self.rankings:
                name = [*(task or ("all", "all"))]
                mean = self.overall(by, task)
                count = quantity(len(self._of(task)), "query", "queries")
                lines.append(_row([*name, f"mean of {count}", by, ""], mean.mean, mean.queries))
                positive = self.overall_positive(by, task)
                if positive is not None and zeros:
                    known = positive.queries["mae"] or positive.queries["srcc"]
                    count = quantity(known, "query", "queries")
                    labels = [*name, f"mean of {count} (counts from 1)", by, ""]
                    lines.append(_row(labels, positive.mean, positive.queries))
        for q in self.apart:
            lines += self._query_rows(q, f"{q.query} (not trained)")
        for by in self.rankings:
            mean_apart = self.overall_apart(by)
            if mean_apart is not None and len(self.apart) > 1:
                count = quantity(len(self.apart), "query", "queries")
                name = ["all", "all", f"mean of {count} (not trained)"]
                lines.append(_row([*name, by, ""], mean_apart.mean, mean_apart.queries))
        return "\n".join(lines) + "\n"

    def _query_rows(self, q: QueryEvaluation, title: str) -> list[str]:
        """Return a query's lines, one per ranking, and for counts one without zeros."""
        lines = []
        for by in self.rankings:
            name = [q.dataset, q.task]
            lines.append(_row([*name, title, by, str(len(q.rows))], q.metrics[by]))
            if q.positive is not None and q.positive_n < len(q.rows):
                labels = [*name, f"{title} (counts from 1)", by, str(q.positive_n)]
                lines.append(_row(labels, q.positive[by]))
        return lines


def _row(names: Sequence[str], metrics: Metrics, queries: Mapping[str, int] | None = None) -> str:
    """Format one line of the table; a metric that is not defined is a dash.

    A mean over fewer queries than others in its line says over how many.
    """
    cells = [name.replace("|", "\\|") for name in names]
    most = max(queries.values()) if queries else 0
    for name, value in metrics.to_dict().items():
        few = queries is not None and 0 < queries[name] < most
        shown = "–" if value is None else f"{value:.3f}"
        cells.append(f"{shown} (of {queries[name]})" if few and queries else shown)
    return "| " + " | ".join(cells) + " |"

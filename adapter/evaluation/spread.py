"""Several runs side by side: mean and spread of each metric over seeds and folds.

    spread = Spread(evaluations=(evaluate("runs/seed-0", ...), evaluate("runs/seed-1", ...)))
    print(spread.to_markdown())

All numbers are over one set of queries: those that every run was trained on and evaluated on, and,
metric by metric, where the metric is defined in every run and for every way of ranking.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from adapter.evaluation.metrics import (
    METRIC_NAMES,
    average_together,
    finite_or_none,
    mean_and_spread,
)
from adapter.evaluation.titles import TITLES
from featcache.wording import quantity

if TYPE_CHECKING:
    from adapter.evaluation.metrics import Average
    from adapter.evaluation.predict import By
    from adapter.evaluation.results import Evaluation

Key = tuple[str, str, str]  # data set, task and query


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Evaluations of several runs."""

    evaluations: tuple[Evaluation, ...]

    @property
    def rankings(self) -> tuple[By, ...]:
        """What ranked, in every run."""
        if not self.evaluations:
            return ()
        first, *others = self.evaluations
        return tuple(by for by in first.rankings if all(by in e.rankings for e in others))

    @cached_property
    def queries(self) -> tuple[Key, ...]:
        """The queries that all runs have in common, in order."""
        if not self.evaluations:
            return ()
        first, *others = self._keys
        return tuple(key for key in first if all(key in other for other in others))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the table should know."""
        apart = {key[2] for keys in self._keys for key in keys} - {key[2] for key in self.queries}
        if not apart:
            return ()
        names = ", ".join(repr(name) for name in sorted(apart)[:5])
        note = (
            f"the mean is over the {quantity(len(self.queries), 'query', 'queries')} that every "
            "run has; "
            f"{len(apart)} others are not in it: {names}{' …' if len(apart) > 5 else ''}"
        )
        return (note,)

    def spread(self, metric: str, by: By = "score") -> tuple[float, float, int]:
        """Mean, standard deviation and number of runs, of a metric's mean over queries."""
        return mean_and_spread(
            getattr(average.mean, metric) for (_, one), average in self._means.items() if one == by
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: per way of ranking and metric, mean, deviation and runs."""
        table: dict[str, dict[str, Any]] = {}
        for by in self.rankings:
            table[by] = {}
            for metric in METRIC_NAMES:
                mean, std, runs = self.spread(metric, by)
                table[by][metric] = {
                    "mean": finite_or_none(mean),
                    "std": finite_or_none(std),
                    "runs": runs,
                }
        return table

    def to_markdown(self) -> str:
        """Return a table of mean ± standard deviation over runs, per way of ranking."""
        names = [TITLES[metric] for metric in METRIC_NAMES]
        lines = [f"| by | runs | {' | '.join(names)} |", "|---|---:|" + "---:|" * len(names)]
        for by in self.rankings:
            cells = [self.spread(metric, by) for metric in METRIC_NAMES]
            shown = [
                "–" if n == 0 else f"{mean:.3f}" if n == 1 else f"{mean:.3f} ± {std:.3f}"
                for mean, std, n in cells
            ]
            lines.append(f"| {by} | {max(n for *_, n in cells)} | {' | '.join(shown)} |")
        return "\n".join(lines) + "\n"

    @cached_property
    def _keys(self) -> list[list[Key]]:
        """Per run, the queries that its mean may be over."""
        return [[(q.dataset, q.task, q.query) for q in e.averaged] for e in self.evaluations]

    @cached_property
    def _means(self) -> dict[tuple[int, By], Average]:
        """Per run and way of ranking, the average over the common queries."""
        found = [
            {(q.dataset, q.task, q.query): q.metrics for q in evaluation.averaged}
            for evaluation in self.evaluations
        ]
        return average_together(
            [
                {
                    (number, by): metrics[key][by]
                    for number, metrics in enumerate(found)
                    for by in self.rankings
                }
                for key in self.queries
            ]
        )

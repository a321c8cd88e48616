"""How metrics are written: for tables, pages and reproductions alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """How a metric is written: its title, decimals, unit and direction."""

    title: str
    digits: int = 3
    unit: str = ""
    higher_is_better: bool = True


METRICS: dict[str, MetricInfo] = {
    "plcc": MetricInfo(title="PLCC"),
    "srcc": MetricInfo(title="SRCC"),
    "kendall": MetricInfo(title="Kendall"),
    "mae": MetricInfo(title="MAE", digits=2, higher_is_better=False),
    "accuracy": MetricInfo(title="Accuracy", digits=1, unit="%"),
    "pairwise": MetricInfo(title="Pairs"),
}

TITLES = {name: metric.title for name, metric in METRICS.items()}

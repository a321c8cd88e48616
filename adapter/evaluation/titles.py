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

# What columns of a reproduced table can show beside them. ``_zeros`` is over all images of a
# counting query, those without any such object included; the others are over counts from one on.
COLUMNS: dict[str, MetricInfo] = {
    **{name: metric for name, metric in METRICS.items() if name != "kendall"},
    "plcc_zeros": MetricInfo(title="PLCC with zeros"),
    "srcc_zeros": MetricInfo(title="SRCC with zeros"),
    "mse": MetricInfo(title="MSE", higher_is_better=False),
    "mse_many": MetricInfo(title="MSE many", higher_is_better=False),
    "mse_medium": MetricInfo(title="MSE medium", higher_is_better=False),
    "mse_few": MetricInfo(title="MSE few", higher_is_better=False),
    "good": MetricInfo(title="Good or bad", digits=1, unit="%"),
}

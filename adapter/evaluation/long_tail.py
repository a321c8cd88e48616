"""Metrics of TMCR's tables: errors, distributions of ratings, and regions of a long tail.

Labels ``y`` and predictions ``p`` are float64 [n], distributions float64 [n, L] whose rows sum to
1. A metric of no images is NaN.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from adapter.data.labels import select_labels
from adapter.errors import ConfigError
from adapter.evaluation.metrics import finite_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adapter.data.labels import FeatureCache
    from adapter.evaluation.results import Evaluation
    from adapter.stored import StoredRun

Array = NDArray[np.float64]
Region = Literal["many", "medium", "few"]
TITLES = {
    "mse": "MSE",
    "many": "MSE, many",
    "medium": "MSE, medium",
    "few": "MSE, few",
    "binary": "binary accuracy",
    "emd1": "EMD1",
    "emd2": "EMD2",
}
REGIONS: tuple[Region, ...] = ("many", "medium", "few")


def mse(y: Array, p: Array) -> float:
    """Mean squared error, in the labels' unit squared."""
    return float(((y - p) ** 2).mean()) if len(y) else math.nan


def binary_accuracy(y: Array, p: Array, threshold: float) -> float:
    """Share of images that lie on the same side: above the threshold, or not.

    AVA's convention is a mean rating above 5 for a good photo.
    """
    return float(((y > threshold) == (p > threshold)).mean()) if len(y) else math.nan


def distribution_distance(predicted: Array, target: Array, power: int) -> float:
    """Earth mover's distance over ordered levels: EMD1 with power 1, EMD2 with power 2.

    mean_n (mean_l |CDF_p(l) - CDF_q(l)|^r)^(1/r) (Talebi and Milanfar, "NIMA", TIP 2018,
    equation 1).
    """
    if not len(predicted):
        return math.nan
    gap = np.abs(predicted.cumsum(axis=1) - target.cumsum(axis=1))  # [n, L]
    return float(((gap**power).mean(axis=1) ** (1 / power)).mean())


def region_cuts(train: Array) -> tuple[float, float, float, float]:
    """Return the four cuts that part a scale into regions by how many training labels they hold.

    TMCR parts AVA's mean ratings around the mode into a middle with many labels, a ring with
    fewer on either side, and two tails; all steps have one width (its published ranges lie at
    about 3.85, 4.87, 5.88 and 6.90). Here the width is chosen from the training labels such that
    each region holds about the same number: middle, ring and tails a third each, around the
    median.
    """
    middle = float(np.median(train))
    away = np.abs(train - middle)
    inner, outer = np.quantile(away, [1 / 3, 2 / 3])
    return middle - outer, middle - inner, middle + inner, middle + outer


def region_of(y: Array, cuts: tuple[float, float, float, float]) -> NDArray[np.str_]:
    """Return the region of each label: ``many`` in the middle, then ``medium``, then ``few``."""
    place = np.searchsorted(cuts, y, side="right")  # 0 ... 4
    return np.array(["few", "medium", "many", "medium", "few"])[place]


def by_region(y: Array, p: Array, cuts: tuple[float, float, float, float]) -> dict[Region, float]:
    """Return the mean squared error of each region; NaN for one without images."""
    where = region_of(y, cuts)
    return {region: mse(y[where == region], p[where == region]) for region in REGIONS}


@dataclass(frozen=True, kw_only=True)
class LongTail:
    """What TMCR's tables show of one query; NaN where a quantity is not defined.

    Attributes:
        mse: Mean squared error, in the labels' unit squared.
        many: The same over images whose label is where many training labels are.
        medium: Where fewer are.
        few: In the tails.
        binary: Share on the right side of a threshold; NaN without one.
        emd1: Distance of predicted and true rating distributions, power 1; NaN without them.
        emd2: The same with power 2.
    """

    mse: float
    many: float
    medium: float
    few: float
    binary: float = math.nan
    emd1: float = math.nan
    emd2: float = math.nan

    def to_dict(self) -> dict[str, float | None]:
        """Return JSON values; NaN becomes null."""
        return {name: finite_or_none(value) for name, value in asdict(self).items()}


def measure_long_tail(
    y: Array,
    p: Array,
    train: Array,
    *,
    threshold: float | None = None,
    predicted: Array | None = None,
    target: Array | None = None,
) -> LongTail:
    """Measure one query as TMCR does.

    Args:
        y: Labels, [n].
        p: Predictions in their unit, [n].
        train: Training labels, which say where there are many.
        threshold: Of the binary accuracy.
        predicted: Predicted distributions of ratings, [n, L].
        target: True ones, [n, L]; distances need both, with the same levels.
    """
    distances = {}
    if predicted is not None and target is not None and predicted.shape == target.shape:
        distances = {
            f"emd{power}": distribution_distance(predicted, target, power) for power in (1, 2)
        }
    return LongTail(
        mse=mse(y, p),
        **by_region(y, p, region_cuts(train)),
        binary=math.nan if threshold is None else binary_accuracy(y, p, threshold),
        **distances,
    )


def long_tails_of(
    evaluation: Evaluation,
    run: StoredRun,
    caches: Sequence[FeatureCache],
    threshold: float | None = None,
) -> list[tuple[str, LongTail]]:
    """Measure every query of a run's evaluation by score, each with its query in front.

    Args:
        evaluation: What ``adapter.evaluation.evaluate`` found.
        run: Its run, which says what the training split is.
        caches: Its caches, in the same order; they hold the training labels.
        threshold: Of the binary accuracy.

    Raises:
        LabelsError: A cache has no training labels of a query.
        ConfigError: The run ranks by comparison alone, which has no unit.
    """
    if "score" not in evaluation.rankings:
        raise ConfigError("errors need scores; this evaluation ranks by comparison")
    train = run.record["settings"]["train"]
    found = []
    for q in evaluation.queries:
        labels = training_labels(
            caches[q.cache], q.task, q.query, split=train["split"], fold=evaluation.fold
        )
        tail = measure_long_tail(q.values, q.predictions["score"], labels, threshold=threshold)
        found.append((q.query, tail))
    return found


def training_labels(
    cache: FeatureCache, task: str, query: str, *, split: str | Sequence[str], fold: int | None
) -> Array:
    """Return a query's training labels [n], which part its scale into regions.

    Raises:
        LabelsError: There are none.
    """
    chosen = select_labels(cache, split=split, fold=fold, queries=(query,), tasks=(task,))
    return chosen.queries[0].values


def long_tail_table(found: Iterable[tuple[str, LongTail]]) -> str:
    """Return a Markdown table, one line per query or cache; what is not defined is a dash."""
    lines = [f"| | {' | '.join(TITLES.values())} |", "|---|" + "---:|" * len(TITLES)]
    for name, tail in found:
        values = tail.to_dict()
        shown = ["–" if values[key] is None else f"{values[key]:.3f}" for key in TITLES]
        lines.append(f"| {name} | {' | '.join(shown)} |".replace("\n", " "))
    return "\n".join(lines) + "\n"

"""Metrics of TMCR's tables: errors, distributions of ratings, and regions of a long tail.

Labels ``y`` and predictions ``p`` are float64 [n], distributions float64 [n, L] whose rows sum to
1. A metric of no images is NaN.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Region = Literal["many", "medium", "few"]
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

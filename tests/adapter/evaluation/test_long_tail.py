from __future__ import annotations

import math

import numpy as np
import pytest

from adapter.evaluation.long_tail import (
    REGIONS,
    binary_accuracy,
    by_region,
    distribution_distance,
    long_tail_table,
    measure_long_tail,
    mse,
    region_cuts,
    region_of,
)


def test_errors_written_out():
    y, p = np.array([1.0, 5.0, 9.0]), np.array([2.0, 5.5, 7.0])
    assert mse(y, p) == pytest.approx((1 + 0.25 + 4) / 3)
    assert binary_accuracy(y, p, 5.0) == pytest.approx(2 / 3)  # 5 is not above 5, 5.5 is
    assert math.isnan(mse(y[:0], p[:0]))
    assert math.isnan(binary_accuracy(y[:0], p[:0], 5.0))


def test_distances_of_distributions():
    one = np.eye(5)
    assert distribution_distance(one[:1], one[:1], 1) == 0
    # All mass two levels away: the cumulated shares differ by 1 at two of five levels.
    assert distribution_distance(one[:1], one[2:3], 1) == pytest.approx(2 / 5)
    assert distribution_distance(one[:1], one[2:3], 2) == pytest.approx(math.sqrt(2 / 5))
    assert math.isnan(distribution_distance(one[:0], one[:0], 2))


def test_regions_hold_equal_shares_of_the_training_labels():
    train = np.random.default_rng(0).normal(5.4, 0.7, 9000)
    cuts = region_cuts(train)
    assert list(cuts) == sorted(cuts)
    where = region_of(train, cuts)
    for region in REGIONS:
        assert (where == region).mean() == pytest.approx(1 / 3, abs=0.001)
    assert region_of(np.array([5.4, 2.0, 9.0]), cuts).tolist() == ["many", "few", "few"]


def test_errors_by_region():
    cuts = (2.0, 4.0, 6.0, 8.0)
    y, p = np.array([5.0, 5.0, 3.0, 1.0]), np.array([5.0, 6.0, 5.0, 2.0])
    found = by_region(y, p, cuts)
    assert found == {"many": 0.5, "medium": 4.0, "few": 1.0}
    assert math.isnan(by_region(y[:2], p[:2], cuts)["few"])


def test_one_query_has_all_of_them():
    train = np.arange(1.0, 10.0)  # around 5: 4 to 6 in the middle, then 2.3 to 7.7
    y, p = np.array([5.0, 7.0, 1.0]), np.array([5.0, 6.0, 3.0])
    target = np.eye(3)
    found = measure_long_tail(y, p, train, threshold=5.0, predicted=target[::-1], target=target)
    assert (found.many, found.medium, found.few) == (0.0, 1.0, 4.0)
    assert found.mse == pytest.approx(5 / 3)
    assert found.binary == 1.0
    assert found.emd1 == pytest.approx((2 / 3 + 0 + 2 / 3) / 3)
    assert 0 < found.emd1 < found.emd2
    plain = measure_long_tail(y, p, train)
    assert plain.to_dict()["binary"] is plain.to_dict()["emd1"] is None
    # Distributions over other levels have no distance.
    assert math.isnan(measure_long_tail(y, p, train, predicted=target, target=target[:, :2]).emd1)
    table = long_tail_table([("sort by age.", found), ("plain", plain)])
    assert table.splitlines()[0].startswith("| | MSE | MSE, many |")
    assert "| sort by age. | 1.667 | 0.000 | 1.000 | 4.000 | 1.000 | 0.444 |" in table
    assert table.endswith("| – | – | – |\n")

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adapter.evaluation import metrics
from adapter.evaluation.metrics import average_together, measure
from adapter.evaluation.titles import TITLES

small = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=25
)  # many ties, on purpose


def arrays(pairs):
    y, p = np.array(pairs, np.float64).T
    return y, p


@given(small)
def test_correlations_agree_with_scipy(pairs):
    y, p = arrays(pairs)
    if np.ptp(y) == 0 or np.ptp(p) == 0:
        assert math.isnan(metrics.plcc(y, p))
        assert math.isnan(metrics.srcc(y, p))
        assert math.isnan(metrics.kendall(y, p))
        return
    assert metrics.plcc(y, p) == pytest.approx(stats.pearsonr(y, p).statistic, abs=1e-12)
    assert metrics.srcc(y, p) == pytest.approx(stats.spearmanr(y, p).statistic, abs=1e-12)


@given(small)
def test_kendall_and_pairwise_agree_with_counting_pairs(pairs):
    y, p = arrays(pairs)
    signs = [
        (np.sign(y[i] - y[j]), np.sign(p[i] - p[j]))
        for i, j in itertools.combinations(range(len(y)), 2)
    ]
    ordered = [(a, b) for a, b in signs if a != 0]
    accuracy = metrics.pairwise_accuracy(y, p)
    if not ordered:
        assert math.isnan(accuracy)
        return
    expected = np.mean([1.0 if a == b else 0.5 if b == 0 else 0.0 for a, b in ordered])
    assert accuracy == pytest.approx(expected, abs=1e-12)
    untied_p = sum(b != 0 for _, b in signs)
    if untied_p:
        tau = sum(a * b for a, b in signs) / math.sqrt(len(ordered) * untied_p)
        assert metrics.kendall(y, p) == pytest.approx(tau, abs=1e-12)


def test_pairwise_accuracy_does_not_overflow():
    y = np.repeat(np.arange(10.0), 20_000)
    assert metrics.pairwise_accuracy(y, y) == pytest.approx(1.0)
    assert metrics.pairwise_accuracy(y, -y) == pytest.approx(0.0)


def test_accuracy_rounds_half_to_even_and_clips():
    y = np.array([0.0, 2.0, 2.0, 4.0, 0.0])
    p = np.array([0.5, 1.5, 2.5, 9.0, -3.0])
    assert metrics.accuracy(y, p) == 1.0
    assert metrics.accuracy(y, p, (0.0, 8.0)) == 0.8  # 9 is clipped to 8, not to 4
    assert math.isnan(metrics.accuracy(y + 0.5, p))


def test_mae():
    assert metrics.mae(np.array([1.0, 2.0]), np.array([0.0, 4.0])) == 1.5


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_plcc_survives_extreme_scales(scale):
    y = np.array([1.0, 2.0, 3.0, 5.0])
    assert metrics.plcc(y, y * scale) == pytest.approx(1.0)


def test_constant_and_single_inputs_are_nan_without_warning():
    one = np.array([1.0])
    m = metrics.measure(one, one)
    assert math.isnan(m.srcc)
    assert math.isnan(m.pairwise)
    assert m.mae == 0.0
    constant = metrics.measure(np.arange(4.0), np.ones(4))
    assert math.isnan(constant.plcc)
    assert constant.pairwise == 0.5
    assert constant.to_dict()["plcc"] is None


def test_predictions_that_are_not_finite_are_nan():
    p = np.array([0.0, np.nan, 2.0])
    assert math.isnan(metrics.srcc(np.arange(3.0), p))


def test_average_leaves_undefined_values_out_and_counts_them():
    y = np.arange(4.0)
    average = metrics.average([metrics.measure(y, y), metrics.measure(y, np.ones(4))])
    assert average.mean.srcc == pytest.approx(1.0)
    assert average.queries["srcc"] == 1
    assert average.queries["mae"] == 2
    assert average.mean.pairwise == pytest.approx(0.75)


def test_comparison_has_no_errors_in_units():
    m = metrics.measure(np.arange(4.0), np.arange(4.0), in_units=False)
    assert math.isnan(m.mae)
    assert math.isnan(m.accuracy)
    assert m.srcc == pytest.approx(1.0)


def test_mean_and_spread():
    mean, spread, n = metrics.mean_and_spread([1.0, 3.0, math.nan])
    assert (mean, n) == (2.0, 2)
    assert spread == pytest.approx(math.sqrt(2))
    assert math.isnan(metrics.mean_and_spread([1.0])[1])


def test_every_metric_has_a_title():
    assert tuple(TITLES) == metrics.METRIC_NAMES


def test_averages_beside_each_other_are_over_the_same_queries():
    y = np.array([1.0, 2.0, 3.0])
    good, constant = measure(y, y), measure(y, np.full(3, 2.0))
    unitless = measure(y, y, in_units=False)
    found = average_together(
        [
            {"a": good, "b": constant, "c": unitless},
            {"a": constant, "b": good, "c": unitless},
            {"a": good, "b": good, "c": unitless},
        ]
    )
    assert [found[name].queries["srcc"] for name in "abc"] == [1, 1, 1]
    assert [found[name].mean.srcc for name in "abc"] == [1.0, 1.0, 1.0]
    # A comparison has no error in the labels' unit; it takes no query from the others.
    assert [found[name].queries["mae"] for name in "abc"] == [3, 3, 0]
    assert math.isnan(found["c"].mean.mae)
    assert average_together([]) == {}


@given(small)
def test_the_ceiling_is_the_best_srcc_of_any_order_without_ties(pairs):
    y, _ = arrays(pairs)
    if np.ptp(y) == 0:
        assert math.isnan(metrics.srcc_ceiling(y))
        return
    best = stats.rankdata(y, "ordinal").astype(float)  # any order that the labels allow
    assert metrics.srcc_ceiling(y) == pytest.approx(metrics.srcc(y, best), abs=1e-12)

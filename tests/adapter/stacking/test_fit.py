from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adapter.data.labels import select_labels
from adapter.settings import SamplingConfig
from adapter.stacking import fit
from adapter.stacking.fit import Regressions, blend, fit_query, stack_labels
from adapter.stacking.ridge import fit_ridge
from adapter.stacking.stack import image_vectors


def regressions(cache, labels):
    return Regressions(cache, cache.views, labels.rows)


def members(n: int = 400, seed: int = 0):
    """Values, and two predictions of them with errors of their own."""
    generator = np.random.default_rng(seed)
    values = generator.normal(10, 2, n)
    noise = generator.normal(size=(n, 2))
    return values, values[:, None] + noise * [1.0, 2.0]


def test_weights_are_those_of_least_squares_where_these_are_positive():
    values, predictions = members()
    found = blend(predictions, values, spread=1e6)
    x = np.column_stack([predictions, np.ones(len(values))])
    expected = np.linalg.lstsq(x, values, rcond=None)[0]
    assert np.allclose([*found.weights, found.offset], expected)
    assert found.weights[0] > found.weights[1] > 0


def test_no_weight_is_negative():
    values, predictions = members()
    opposite = np.column_stack([predictions[:, 0], -predictions[:, 1]])
    found = blend(opposite, values)
    assert found.weights[1] == 0
    assert 0.7 < found.weights[0] < 1


def test_few_images_are_believed_little():
    values, predictions = members(4000)
    moved = [abs(blend(predictions[:n], values[:n]).weights - 0.5).max() for n in (4, 40, 4000)]
    assert moved[0] < 0.15 < 0.25 < min(moved[1:])


def test_weights_do_not_depend_on_the_unit():
    values, predictions = members()
    years, days = blend(predictions, values), blend(365 * predictions, 365 * values)
    assert np.allclose(years.weights, days.weights)
    assert days.offset == pytest.approx(365 * years.offset)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_almost_no_images_leave_equal_weights(n):
    values, predictions = members(n)
    found = blend(predictions[:, :2], values)
    assert np.isfinite(found.weights).all()
    assert np.isfinite(found.offset)
    if n < 2:
        assert np.allclose(found.weights, 0.5)


def test_a_member_without_error_gets_all():
    values, predictions = members(12)
    found = blend(np.column_stack([predictions[:, 0], values]), values)
    assert np.allclose(found.weights, [0, 1], atol=1e-6)


def test_predictions_that_say_nothing_get_no_weight_from_a_good_line(cache):
    labels = select_labels(cache, split="train", queries=("beauty",)).queries[0]
    noise = np.random.default_rng(0).normal(size=len(labels.rows))
    found = fit_query(regressions(cache, labels), 0, labels, noise)
    assert found.line_weight > 0.9 > 0.1 > found.adapter_weight >= 0
    assert found.errors["stack"] < 1.5 * found.errors["line"] < found.errors["adapter"]


def test_labels_without_a_prediction_do_not_count(cache):
    labels = select_labels(cache, split="train", queries=("beauty",)).queries[0]
    adapter = labels.values + 0.01
    adapter[::2] = np.nan
    found = fit_query(regressions(cache, labels), 0, labels, adapter)
    assert found.adapter_weight > found.line_weight
    nothing = fit_query(regressions(cache, labels), 0, labels, np.full(len(adapter), np.nan))
    assert (nothing.adapter_weight, nothing.line_weight) == (0.5, 0.5)


def test_counting_queries_get_true_zeros_at_most_in_the_ratio_of_batches(make_cache):
    cache = make_cache(images=200)
    selection = select_labels(cache, split="train")
    for labels in stack_labels(selection, SamplingConfig(negative_ratio=0.2), seed=0):
        zeros = labels.rows[labels.values == 0]
        assert len(np.unique(labels.rows)) == len(labels.rows)
        if labels.task == "count":
            assert not np.isin(zeros, labels.containing).any()
            assert 0 < len(zeros) / len(labels.rows) < 0.21
        else:
            assert len(zeros) == 0
    plain = stack_labels(selection, SamplingConfig(negative_ratio=0), seed=0)
    assert [len(q.rows) for q in plain] == [len(q.rows) for q in selection.queries]


def test_of_many_labels_a_part_is_read(cache, monkeypatch):
    monkeypatch.setattr(fit, "LARGEST", 7)
    selection = select_labels(cache, split="train")
    found = stack_labels(selection, SamplingConfig(negative_ratio=0), seed=0)
    for part, whole in zip(found, selection.queries, strict=True):
        assert len(part.rows) == min(7, len(whole.rows))
        of_row = dict(zip(whole.rows, whole.values, strict=True))
        assert [of_row[row] for row in part.rows] == part.values.tolist()


def test_queries_of_the_same_images_share_the_work(cache):
    labels = select_labels(cache, split="train", queries=("beauty",)).queries[0]
    shifted = replace(labels, values=labels.values + labels.rows)
    lines = regressions(cache, labels)
    lines.fit(labels)
    reads = cache.reads
    together = lines.fit(shifted)
    assert cache.reads == reads
    alone = regressions(cache, labels).fit(shifted)
    assert np.array_equal(together.line, alone.line)
    assert np.array_equal(together.curves[1], alone.curves[1])
    fewer = replace(labels, rows=labels.rows[:9], values=labels.values[:9])
    assert len(lines.fit(fewer).left_out) == 9


def test_a_regression_blends_a_line_and_two_curves(cache):
    labels = select_labels(cache, split="train", queries=("beauty",)).queries[0]
    labels = replace(labels, values=labels.values + np.random.default_rng(0).normal(size=30))
    fitter = Regressions(cache, ["original"], labels.rows)
    regression = fitter.fit(labels)
    x = image_vectors(cache, labels.rows, "original")
    each = [(x - x.mean(axis=0)) / x.std(axis=0)]
    each += [landmarks.kernel(x) @ landmarks.root() for landmarks in fitter.landmarks]
    fits = [fit_ridge(features, labels.values) for features in each]
    predictions = [f @ one.weights + one.intercept for f, one in zip(each, fits, strict=True)]
    left_out = np.stack([f.left_out for f in fits], axis=1)
    found = blend(left_out, labels.values, fit.EXPECTED_SPREAD, fit.EXPECTED)
    expected = np.stack(predictions, axis=1) @ found.weights + found.offset
    stacked = fit_query(fitter, 0, labels, labels.values)
    assert np.allclose(stacked.regress(cache, labels.rows, ["original"]), expected)
    assert np.isclose(found.weights.sum(), 1, atol=0.5)
    assert len(regression.curves) == 2


def test_a_curve_says_what_a_line_cannot(make_cache):
    cache = make_cache(images=120)
    labels = select_labels(cache, split="train", queries=("beauty",)).queries[0]
    x = image_vectors(cache, labels.rows, "original")
    product = x[:, 4] * x[:, 5]
    labels = replace(labels, values=product)
    regression = Regressions(cache, ["original"], labels.rows).fit(labels)
    line = fit_ridge((x - x.mean(axis=0)) / x.std(axis=0), product)
    error = np.mean((regression.left_out - product) ** 2)
    assert error < 0.7 * line.error

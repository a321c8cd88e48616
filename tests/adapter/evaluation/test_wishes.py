from __future__ import annotations

import numpy as np
import pytest

from adapter.errors import ConfigError
from adapter.evaluation.wishes import combine, percentiles, prepare

A, B = np.array([1.0, 2.0, 3.0, 4.0]), np.array([40.0, 30.0, 20.0, 10.0])


@pytest.mark.parametrize("form", ["percentile", "product"])
def test_one_wish_keeps_its_order_and_a_negative_weight_turns_it(form):
    prepared = prepare([A], form)
    assert list(np.argsort(combine(prepared, [0.4], form).scores)) == [0, 1, 2, 3]
    assert list(np.argsort(combine(prepared, [-0.4], form).scores)) == [3, 2, 1, 0]


@pytest.mark.parametrize("form", ["percentile", "product"])
def test_weights_move_the_order_and_shares_add_up(form):
    prepared = prepare([A, B], form)
    for weights, best in (([1, 0.01], 3), ([0.01, 1], 0)):
        found = combine(prepared, weights, form)
        assert int(found.scores.argmax()) == best
        total = found.scores if form == "percentile" else np.log(found.scores)
        np.testing.assert_allclose(found.shares.sum(axis=0), total)
        assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_a_product_wants_every_wish_where_a_mean_forgives():
    lopsided, balanced = np.array([1.0, 0.0, 0.45]), np.array([0.0, 1.0, 0.45])
    product = combine(prepare([lopsided, balanced], "product"), [1, 1], "product").scores
    assert int(product.argmax()) == 2


def test_percentiles_of_ties_are_in_their_middle():
    np.testing.assert_allclose(percentiles(np.array([1.0, 1.0, 5.0])), [0.25, 0.25, 1])
    np.testing.assert_array_equal(percentiles(np.array([7.0])), [1])


def test_senseless_weights_are_refused():
    prepared = prepare([A, B])
    for weights in ([1], [2, 0], [0, 0], [float("nan"), 1]):
        with pytest.raises(ConfigError):
            combine(prepared, weights)
    with pytest.raises(ConfigError, match="not 'sum'"):
        prepare([A], "sum")
    with pytest.raises(ConfigError, match="at least one"):
        prepare([])

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import ConfigError
from adapter.methods.ordinal_clip import OrdinalClip, interpolation_weights


def test_linear_weights_written_out():
    # Base ranks at 0, 2 and 4 of five ranks: 1 - d/4, divided by the row's sum.
    expected = np.array(
        [
            [1, 0.5, 0],
            [0.75, 0.75, 0.25],
            [0.5, 1, 0.5],
            [0.25, 0.75, 0.75],
            [0, 0.5, 1],
        ]
    )
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(interpolation_weights(5, 3), expected)


def test_inverse_weights_are_nearly_one_hot_at_the_base_ranks():
    weights = interpolation_weights(5, 3, "inverse")
    np.testing.assert_allclose(weights[[0, 2, 4]], np.eye(3), atol=1e-4)
    np.testing.assert_allclose(weights[1], [3 / 7, 3 / 7, 1 / 7], rtol=1e-4)


def test_one_base_rank_stands_in_the_middle():
    np.testing.assert_allclose(interpolation_weights(5, 1), np.ones((5, 1)))


@given(st.integers(2, 60), st.integers(1, 8), st.sampled_from(["linear", "inverse"]))
def test_weights_are_convex_and_mirror_symmetric(ranks, base_ranks, kind):
    weights = interpolation_weights(ranks, base_ranks, kind)
    assert weights.shape == (ranks, base_ranks)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-9)


def test_learns_a_planted_signal_and_nothing_from_shuffled_labels(make_fold, accuracy):
    method = OrdinalClip(context=4, base_ranks=4, steps=100, lr=0.05)
    assert accuracy(method, make_fold()) > 0.5
    assert accuracy(method, make_fold(shuffle=True)) < 0.45


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="interpolation"):
        OrdinalClip(interpolation="cubic")

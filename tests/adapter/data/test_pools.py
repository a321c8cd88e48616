"""Drawing from one query: which weights, which probabilities, which zeros."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.data.labels import QueryLabels
from adapter.data.pools import QueryPool, balanced_weights, draw, uniform_choice, weighted_choice
from adapter.settings import SamplingConfig


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=80),
    st.integers(1, 10),
)
def test_weights_give_every_value_the_same_mass(values, bins):
    array = np.array(values, np.float64)
    weights = balanced_weights(array, bins)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights > 0).all()
    distinct = np.unique(array)
    if len(distinct) <= bins:
        masses = [weights[array == v].sum() for v in distinct]
        np.testing.assert_allclose(masses, 1 / len(distinct))
    # Equal labels have equal weight, however they are binned.
    for v in distinct:
        assert np.ptp(weights[array == v]) == 0


def test_weights_of_continuous_labels_use_bins():
    weights = balanced_weights(np.random.default_rng(0).exponential(size=1000), 10)
    np.testing.assert_allclose(weights, 1e-3, rtol=0.05)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 400), st.integers(0, 25))
def test_weighted_choice_draws_distinct_indices(seed, n, count):
    generator = np.random.Generator(np.random.Philox(key=seed))
    weights = np.full(n, 1 / n)
    for chosen in (
        weighted_choice(weights, np.cumsum(weights), count, generator),
        uniform_choice(n, count, generator),
    ):
        assert len(set(chosen.tolist())) == len(chosen) == min(n, count)
        assert set(chosen.tolist()) <= set(range(n))


@pytest.mark.parametrize("unused", [0, 30], ids=["most", "few"])
def test_weighted_choice_has_the_right_probabilities(unused):
    # With many nearly impossible items beside, two are "few of many": the other algorithm.
    weights = np.array([0.6, 0.3, 0.1, *[1e-12] * unused])
    pairs = np.zeros((3, 3))
    for k in range(10_000):
        generator = np.random.Generator(np.random.Philox(key=k))
        first, second = weighted_choice(weights, np.cumsum(weights), 2, generator)
        pairs[first, second] += 1
    expected = np.array(
        [[0 if i == j else weights[i] * weights[j] / (1 - weights[i]) for j in range(3)]
         for i in range(3)]
    )  # fmt: skip
    np.testing.assert_allclose(pairs / pairs.sum(), expected, atol=0.015)


POSITIVE = QueryLabels(
    task="count",
    query="cats",
    rows=np.arange(10),
    values=np.arange(1.0, 11.0),
    containing=np.arange(10),
)


@settings(max_examples=60)
@given(
    size=st.integers(1, 24),
    ratio=st.floats(0, 1, exclude_max=True),
    zeros=st.integers(0, 12),
    seed=st.integers(0, 2**32),
)
def test_a_batch_is_positives_and_true_zeros(size, ratio, zeros, seed):
    pool = QueryPool(
        labels=POSITIVE,
        weights=np.full(10, 0.1),
        cumulative=np.cumsum(np.full(10, 0.1)),
        counting=True,
        zeros=np.arange(100, 100 + zeros),
        replace=False,
    )
    config = SamplingConfig(batch_size=size, negative_ratio=ratio)
    generator = np.random.Generator(np.random.Philox(key=seed))
    rows, values = draw(pool, config, generator)
    assert len(set(rows.tolist())) == len(rows) == len(values) == min(size, 10 + zeros)
    truth = dict(zip(POSITIVE.rows.tolist(), POSITIVE.values.tolist(), strict=True))
    assert [truth.get(row, 0.0) for row in rows.tolist()] == values.tolist()
    # The share of zeros is the one asked for, unless one kind runs out.
    wanted = min(int(size * (1 - ratio)), 10)
    if zeros >= size - wanted:
        assert (values > 0).sum() == wanted or zeros == 0

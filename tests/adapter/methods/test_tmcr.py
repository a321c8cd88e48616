"""TMCR's rating distributions, and the levels that it contrasts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adapter.errors import LabelsError
from adapter.methods import get
from adapter.methods.tmcr import rating_distributions, score_levels

SMALL = {"width": 16, "encoder_steps": 4, "epochs": 2, "pooling": "mean"}


def rated(fold, levels, move=lambda mean: mean):
    """Give a fold distributions of ratings, and the labels that are their means, moved."""
    shares = np.random.default_rng(0).dirichlet(np.ones(levels), len(fold.train.rows))
    means = shares @ np.arange(1, levels + 1)
    return replace(fold, train=replace(fold.train, values=move(means), distributions=shares))


def test_a_data_sets_own_distributions_are_learned_from(make_fold):
    fold = rated(make_fold(60), 5, lambda mean: 25 * (mean - 1))  # as KonIQ-10k: 1 ... 5 to 100
    shares, levels = rating_distributions(fold)
    assert shares is fold.train.distributions
    np.testing.assert_allclose(levels, [0, 25, 50, 75, 100], atol=1e-9)
    found = get("tmcr-frozen", **SMALL).fit(fold).predict(fold.vectors, fold.test.rows)
    assert found.distributions.shape == (len(fold.test.rows), 5)
    np.testing.assert_allclose(found.distributions.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found.values, found.distributions @ levels)


def test_without_them_they_are_made_from_the_label_and_a_deviation(make_fold):
    fold = replace(make_fold(60), scale=(10.0, 13.0))
    shares, levels = rating_distributions(fold)
    np.testing.assert_allclose(levels, np.linspace(10, 13, 10))
    middle = fold.train.values == 11
    mean = shares[middle][0] @ levels
    deviation = np.sqrt(shares[middle][0] @ (levels - mean) ** 2)
    assert mean == pytest.approx(11, abs=0.1)
    assert deviation == pytest.approx(0.16 * 3, rel=0.1)


def test_levels_of_a_scale_from_one_to_ten():
    values = np.array([1.5, 2.0, 2.5, 5.5, 8.5, 9.5])
    assert score_levels(values, (1, 10)).tolist() == [-1, -1, 0, 3, 6, -1]
    assert score_levels(10 * values, (10, 100)).tolist() == [-1, -1, 0, 3, 6, -1]


def test_labels_that_are_classes_are_the_levels():
    assert score_levels(np.array([0.0, 1.0, 2.0, 1.0]), (0, 2)).tolist() == [0, 1, 2, 1]
    with pytest.raises(LabelsError, match="all training labels are 3"):
        score_levels(np.array([3.0, 3.0]), (0, 10))

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from adapter.data.comparisons import Comparisons
from adapter.errors import LabelsError
from adapter.evaluation.agreement import agreement
from adapter.teaching.linear import fit_linear, ridge_on_strengths, standardized, strengths


def drawn(features, direction, count, seed=0, noise=0.0):
    """Answers of a person whose taste is a direction, some of them mistaken."""
    generator = np.random.default_rng(seed)
    left = generator.integers(0, len(features), count)
    right = (left + generator.integers(1, len(features), count)) % len(features)
    truth = features @ direction
    shares = (truth[left] > truth[right]).astype(float)
    flip = generator.random(count) < noise
    return Comparisons(
        question="q", left=left, right=right, shares=np.where(flip, 1 - shares, shares)
    )


@pytest.fixture(scope="module")
def world():
    generator = np.random.default_rng(0)
    features = standardized(generator.normal(size=(400, 20)))
    return features, generator.normal(size=20)


def test_a_taste_is_learned_and_holds_for_photos_that_were_in_no_pair(world):
    features, direction = world
    answers = drawn(features[:200], direction, 300, noise=0.1)
    unseen = drawn(features, direction, 500, seed=1)
    direct = agreement(fit_linear(features, answers).scores(features), unseen)
    plain = agreement(ridge_on_strengths(features, answers), unseen)
    assert direct.share > 0.85
    assert direct.share >= plain.share - 0.01
    assert agreement(fit_linear(features, answers.take(np.arange(5))).scores(features), unseen)


def test_the_weights_are_a_minimum(world):
    features, direction = world
    answers = drawn(features, direction, 60)
    taste = fit_linear(features, answers, ridge=0.5)
    d = features[answers.left] - features[answers.right]
    gradient = d.T @ (expit(d @ taste.weights) - answers.shares) + 0.5 * taste.weights
    assert np.abs(gradient).max() < 1e-3


def test_information_is_how_much_variance_an_answer_takes_away(world):
    """One more row of the Hessian, for each candidate, and the variances before and after."""
    features, direction = world
    taste = fit_linear(features, drawn(features, direction, 30), ridge=0.7)
    hessian = 0.7 * np.eye(20) + taste.differences.T @ (
        taste.curvature[:, None] * taste.differences
    )

    def variance(inverse):
        """Of strengths less what all share: the mean over images."""
        covariance = features @ inverse @ features.T
        middle = np.eye(len(features)) - 1 / len(features)
        return np.diag(middle @ covariance @ middle).mean()

    differences = features[:9] - features[9:18]
    before, expected = variance(np.linalg.inv(hessian)), []
    for d in differences:
        p = expit(d @ taste.weights)
        more = hessian + p * (1 - p) * np.outer(d, d)
        expected.append(before - variance(np.linalg.inv(more)))
    found = taste.information(differences, features)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_without_answers_nothing_is_known(world):
    features, direction = world
    none = drawn(features, direction, 0)
    taste = fit_linear(features, none)
    np.testing.assert_array_equal(taste.scores(features), 0)
    assert (taste.information(features[:3] - features[3:6], features) > 0).all()
    with pytest.raises(LabelsError, match="no answers yet"):
        ridge_on_strengths(features, none)


def test_strengths_are_in_the_order_of_a_tournament():
    answers = Comparisons(
        question="q",
        left=np.array([5, 7, 5]),
        right=np.array([7, 9, 9]),
        shares=np.array([1.0, 1.0, 1.0]),
    )
    rows, found = strengths(answers, 10)
    np.testing.assert_array_equal(rows, [5, 7, 9])
    assert found[0] > found[1] > found[2]

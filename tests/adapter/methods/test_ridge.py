from __future__ import annotations

import numpy as np
import pytest

from adapter.errors import ConfigError
from adapter.methods.ridge import RidgeProbe, fit_ridge


@pytest.fixture
def problem():
    generator = np.random.default_rng(3)
    x = generator.normal(size=(30, 6))
    return x, x @ generator.normal(size=6) + 2 + generator.normal(size=30)


def solve(x, y, penalty):
    """Ridge with an intercept that is not penalized, by the normal equations."""
    centered = x - x.mean(axis=0)
    weights = np.linalg.solve(
        centered.T @ centered + penalty * np.eye(x.shape[1]), centered.T @ (y - y.mean())
    )
    return weights, y.mean() - x.mean(axis=0) @ weights


def test_equals_the_normal_equations(problem):
    x, y = problem
    found = fit_ridge(x, y, (0.1,))
    squares = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    weights, intercept = solve(x, y, 0.1 * squares.mean())
    np.testing.assert_allclose(found.weights, weights)
    assert found.intercept == pytest.approx(intercept)


def test_leave_one_out_error_equals_refitting_for_a_fixed_center(problem):
    x, y = problem
    x, y = x - x.mean(axis=0), y - y.mean()
    found = fit_ridge(x, y, (1e-12,))  # least squares: refitting with an intercept is exact
    errors = []
    for i in range(len(x)):
        keep = np.arange(len(x)) != i
        weights, intercept = solve(x[keep], y[keep], 0)
        errors.append(y[i] - x[i] @ weights - intercept)
    assert found.error == pytest.approx(np.mean(np.square(errors)), rel=1e-6)


def test_noise_is_shrunk_and_signal_is_kept(problem):
    x, _ = problem
    generator = np.random.default_rng(0)
    assert fit_ridge(x, generator.normal(size=30)).strength > fit_ridge(x, x[:, 0]).strength


def test_more_features_than_images():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(20, 50))
    found = fit_ridge(x, x[:, 0])
    assert np.isfinite(found.weights).all()
    assert np.isfinite(found.error)


@pytest.mark.parametrize("features", ["pooled", "tokens", "both"])
def test_learns_a_planted_signal_and_nothing_from_shuffled_labels(make_fold, accuracy, features):
    assert accuracy(RidgeProbe(features=features), make_fold(400)) > 0.4
    assert accuracy(RidgeProbe(features=features), make_fold(400, shuffle=True)) < 0.4


def test_unknown_features_are_refused():
    with pytest.raises(ConfigError, match="features"):
        RidgeProbe(features="all")

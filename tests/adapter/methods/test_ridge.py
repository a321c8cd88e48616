from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from adapter.errors import ConfigError
from adapter.methods.ridge import RidgeProbe, fit_probe
from adapter.stacking.ridge import Decomposed, fit_ridge


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
    found = fit_ridge(x, y, 0.1)
    squares = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    weights, intercept = solve(x, y, 0.1 * squares.mean())
    np.testing.assert_allclose(found.weights, weights)
    assert found.intercept == pytest.approx(intercept)


def left_out_error(x, y, strength):
    """Mean square error of images [n, V, F], each predicted by a fit to the others."""
    flat = x.reshape(-1, x.shape[-1])
    penalty = strength * (np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False) ** 2).mean()
    errors = []
    for i in range(len(x)):
        keep = np.arange(len(x)) != i
        rest = x[keep].reshape(-1, x.shape[-1])
        weights, intercept = solve(rest, np.repeat(y[keep], x.shape[1]), penalty)
        errors.append(y[i] - x[i] @ weights - intercept)
    return np.mean(np.square(errors))


@pytest.mark.parametrize("strength", [1e-12, 0.03, 2.0, 1e4])
@pytest.mark.parametrize("views", [1, 2, 3])
def test_leave_one_out_error_equals_refitting(problem, strength, views):
    x, y = problem
    noise = np.random.default_rng(views).normal(size=(views, *x.shape))
    x = np.stack([x + 0.3 * part for part in noise], axis=1)  # [n, V, F]
    found = fit_ridge(x, y, strength)
    assert found.error == pytest.approx(left_out_error(x, y, strength), rel=1e-6)


@pytest.mark.parametrize("views", [1, 2])
def test_no_other_strength_has_a_smaller_leave_one_out_error(problem, views):
    x, y = problem
    x = np.stack([x] * views, axis=1) + 0.1
    found = fit_ridge(x, y)
    around = found.strength * 10 ** np.linspace(-0.05, 0.05, 11)
    others = [fit_ridge(x, y, a).error for a in (*around, 1e-8, 1e-4, 1e-2, 1, 100, 1e8)]
    assert found.error <= min(others) * (1 + 1e-6)


def test_a_flip_does_not_tell_the_label_of_its_image():
    """With the flip kept, a left-out image would be predicted from itself: nearly no error."""
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(40, 60)), generator.normal(size=40)
    found = fit_ridge(np.stack([x, x + 1e-3], axis=1), y)
    assert found.error > 0.5 * y.var()


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


def test_every_view_of_a_training_image_is_a_row(make_fold):
    fold = make_fold(60)
    flip = dataclasses.replace(fold.vectors, mean_tokens=-fold.vectors.mean_tokens, view="hflip")
    both = SimpleNamespace(views=(fold.vectors, flip), of=fold.vectors.of)
    # A feature that the flip turns around says nothing; one view alone sees what it says.
    for views, weight in (((), 0.0), (("original",), 1.0)):
        found = fit_probe(both, "tokens", fold.train, views)
        assert (np.abs(found.weights).max() > 1e-6) == bool(weight)
        np.testing.assert_allclose(found.mean, 0 if not weight else found.mean, atol=1e-12)


def test_predictions_are_averaged_over_views_where_that_is_asked(make_fold):
    fold = make_fold(60)
    flip = dataclasses.replace(fold.vectors, mean_tokens=fold.vectors.mean_tokens**2, view="hflip")
    first = SimpleNamespace(views=(fold.vectors, flip), of=fold.vectors.of)
    second = SimpleNamespace(views=(flip,), of=flip.of)
    plain, averaged = (
        fit_probe(first, "tokens", fold.train, average=average) for average in (False, True)
    )
    rows = fold.train.rows
    each = [plain.predict(one, rows).values for one in (first, second)]
    assert np.abs(each[0] - each[1]).max() > 1e-3
    np.testing.assert_allclose(averaged.predict(first, rows).values, np.mean(each, axis=0))


def test_one_decomposition_serves_any_labels(problem):
    x, y = problem
    x = np.stack([x, x + 0.1], axis=1)
    decomposed = Decomposed(x)
    for labels in (y, x[:, 0, 0], y**2):
        found, alone = decomposed.fit(labels), fit_ridge(x, labels)
        np.testing.assert_array_equal(found.weights, alone.weights)
        assert (found.intercept, found.strength) == (alone.intercept, alone.strength)

from __future__ import annotations

import numpy as np
import pytest

from adapter.stacking import curve
from adapter.stacking.curve import Landmarks
from adapter.stacking.ridge import fit_ridge


def vectors(n=60, width=6, seed=0):
    return np.random.default_rng(seed).normal(3, 2, (n, width))


def test_bells_are_one_at_their_landmark_and_fall_with_the_distance():
    x = vectors()
    landmarks = Landmarks.choose(x, slice(2, None))
    kernel = landmarks.kernel(x)
    assert np.allclose(np.diag(kernel), 1, atol=1e-5)
    z = (x[:, 2:] - x[:, 2:].mean(axis=0)) / x[:, 2:].std(axis=0)
    distance = ((z[:, None] - z[None]) ** 2).sum(axis=-1)
    width = 4 * np.median(distance[np.triu_indices(60, 1)])
    assert landmarks.width == pytest.approx(width, rel=1e-5)
    assert np.allclose(kernel, np.exp(-distance / width), atol=1e-5)


def test_with_all_images_as_landmarks_it_is_kernel_ridge_regression(monkeypatch):
    monkeypatch.setattr(curve, "_LEAST", 1e-12)
    x = vectors()
    y = x[:, 0] * x[:, 1]
    landmarks = Landmarks.choose(x, slice(None))
    features = landmarks.kernel(x) @ landmarks.root()
    fit = fit_ridge(features, y)
    kernel = landmarks.kernel(x)
    center = np.eye(60) - 1 / 60
    centered = center @ kernel @ center
    strength = fit.strength * np.mean(np.linalg.svd(center @ features, compute_uv=False) ** 2)
    dual = np.linalg.solve(centered + strength * np.eye(60), y - y.mean())
    assert np.allclose(features @ fit.weights + fit.intercept, centered @ dual + y.mean())


def test_landmarks_are_drawn_the_same_way_each_time(monkeypatch):
    monkeypatch.setattr(curve, "LANDMARKS", 7)
    first, second = (Landmarks.choose(vectors(), slice(None)) for _ in range(2))
    assert len(first.points) == 7
    assert np.array_equal(first.points, second.points)


def test_what_is_saved_is_loaded_to_the_bit():
    landmarks = Landmarks.choose(vectors(), slice(1, 4))
    again = Landmarks.from_arrays(landmarks.to_arrays())
    x = vectors(seed=1)
    assert np.array_equal(again.kernel(x), landmarks.kernel(x))


@pytest.mark.parametrize("x", [vectors(1), np.ones((5, 6)), vectors(2)], ids=["1", "same", "2"])
def test_few_or_equal_images_give_numbers(x):
    landmarks = Landmarks.choose(x, slice(None))
    features = landmarks.kernel(x) @ landmarks.root()
    assert np.isfinite(features).all()
    assert np.isfinite(fit_ridge(features, np.arange(len(x), dtype=float)).weights).all()

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from adapter.data.comparisons import Comparisons
from adapter.teaching import resemblance
from adapter.teaching.linear import fit_linear, image_features, ridge_on_strengths
from adapter.teaching.resemblance import resemblance_scores


class MadeCache:
    """60 images of 4 patches; what is liked stands in the first patch alone."""

    views = ("original",)

    def __init__(self, channels=6):
        generator = np.random.default_rng(0)
        self._tokens = generator.normal(size=(60, 4, channels)).astype(np.float16)
        self.truth = self._tokens[:, 0, 0].astype(np.float64)
        self.shapes = SimpleNamespace(num_tokens=4)

    def __len__(self):
        return len(self._tokens)

    def tokens(self, rows, view):
        return self._tokens[rows]

    def pooled(self, rows, view):
        return self._tokens[rows].mean(axis=1, dtype=np.float32)


def answers_of(truth, count, seed=0):
    generator = np.random.default_rng(seed)
    left = generator.integers(0, len(truth), count)
    right = (left + generator.integers(1, len(truth), count)) % len(truth)
    shares = (truth[left] > truth[right]).astype(float)
    shares[::10] = 0.5
    return Comparisons(question="q", left=left, right=right, shares=shares)


def test_what_stands_in_one_place_is_learned_from_patches_alone():
    cache = MadeCache()
    features, answers = image_features(cache), answers_of(cache.truth, 150)
    found = {
        "patches": resemblance_scores(cache, features, answers),
        "whole": resemblance_scores(cache, features, answers, tokens=False),
        "ridge": ridge_on_strengths(features, answers),
    }
    agree = {name: np.corrcoef(scores, cache.truth)[0, 1] for name, scores in found.items()}
    assert agree["patches"] > 0.7
    assert agree["patches"] > max(agree["whole"], agree["ridge"]) + 0.1


def test_without_tokens_it_is_bradley_and_terrys_linear_model():
    cache = MadeCache()
    features, answers = image_features(cache), answers_of(cache.truth, 40)
    found = resemblance_scores(cache, features, answers, tokens=False, ridge=0.8)
    linear = fit_linear(features, answers, ridge=0.8).scores(features)
    np.testing.assert_allclose(found - found.mean(), linear - linear.mean(), atol=1e-3)


def test_the_strengths_are_those_of_the_minimum(monkeypatch):
    """Against a general optimizer over the strengths of all images."""
    cache = MadeCache()
    features, answers = image_features(cache), answers_of(cache.truth, 30)
    found = resemblance_scores(cache, features, answers)
    whole, every = features @ features.T, np.arange(60)
    patches = resemblance._Patches(cache, every, "original").between(every)
    share = resemblance.PATCHES
    kernel = (1 - share) * whole + share * patches
    values, vectors = np.linalg.eigh(kernel)
    root = vectors * np.sqrt(values.clip(1e-12))  # u = root b, u^T K^-1 u = |b|^2

    def loss(b):
        u = root @ b
        logits = u[answers.left] - u[answers.right]
        error = np.zeros(60)
        np.add.at(error, answers.left, expit(logits) - answers.shares)
        np.add.at(error, answers.right, answers.shares - expit(logits))
        value = np.logaddexp(0, logits).sum() - answers.shares @ logits
        ridge = resemblance.RIDGE
        return value + ridge / 2 * b @ b, root.T @ error + ridge * b

    best = root @ minimize(loss, np.zeros(60), jac=True, options={"gtol": 1e-9}).x
    np.testing.assert_allclose(found - found.mean(), best - best.mean(), atol=1e-4)


def test_parts_do_not_matter_and_progress_is_told(monkeypatch):
    cache = MadeCache()
    features, answers = image_features(cache), answers_of(cache.truth, 30)
    whole = resemblance_scores(cache, features, answers)
    monkeypatch.setattr(resemblance, "CHUNK", 7)
    told = []
    parts = resemblance_scores(cache, features, answers, on_images=told.append)
    np.testing.assert_allclose(parts, whole, atol=1e-9)
    assert (sum(told), len(told)) == (60, 9)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_answers_that_all_agree_leave_strengths_finite(share):
    cache = MadeCache()
    pair = np.zeros(50, np.int64), np.ones(50, np.int64)
    answers = Comparisons(question="q", left=pair[0], right=pair[1], shares=np.full(50, share))
    scores = resemblance_scores(cache, image_features(cache), answers)
    assert np.isfinite(scores).all()
    assert (scores[0] > scores[1]) == (share == 1)

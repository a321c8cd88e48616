from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from adapter.methods.linear import LinearProbe, fit_softmax, softmax_loss


@pytest.fixture
def problem():
    generator = np.random.default_rng(3)
    return generator.normal(size=(12, 3)), generator.integers(0, 4, 12)


def test_loss_written_out(problem):
    x, classes = problem
    flat = np.random.default_rng(0).normal(size=16)
    weights, bias = flat.reshape(4, 4)[:3], flat.reshape(4, 4)[3]
    expected = 0.0
    for row, k in zip(x, classes, strict=True):
        powers = np.exp(row @ weights + bias)
        expected -= np.log(powers[k] / powers.sum()) / len(x)
    expected += 0.5 * 0.3 * (weights**2).sum()
    assert softmax_loss(flat, x, classes, 4, 0.3)[0] == pytest.approx(expected)


def test_gradient_is_that_of_the_loss(problem):
    x, classes = problem
    flat = np.random.default_rng(1).normal(size=16)
    error = check_grad(
        lambda f: softmax_loss(f, x, classes, 4, 0.3)[0],
        lambda f: softmax_loss(f, x, classes, 4, 0.3)[1],
        flat,
    )
    assert error < 1e-5


def test_without_features_the_biases_give_the_frequencies():
    classes = np.array([0, 0, 0, 1])
    table = fit_softmax(np.zeros((4, 1)), classes, 2, 1.0)
    powers = np.exp(table[1])
    assert powers / powers.sum() == pytest.approx([0.75, 0.25], abs=1e-4)


def test_learns_a_planted_signal_and_nothing_from_shuffled_labels(make_fold, accuracy):
    assert accuracy(LinearProbe(), make_fold()) > 0.8
    assert accuracy(LinearProbe(), make_fold(shuffle=True)) < 0.45


def test_a_class_without_training_images_is_no_obstacle(make_fold):
    data = make_fold(60, class_values=10.0 + np.arange(6), class_names=("x",) * 6)
    prediction = LinearProbe().fit(data).predict(data.vectors, data.test.rows)
    assert prediction.probabilities.shape == (30, 6)
    assert (prediction.probabilities.argmax(axis=1) < 4).all()

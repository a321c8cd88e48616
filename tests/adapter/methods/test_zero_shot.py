from __future__ import annotations

import numpy as np
import pytest

from adapter.methods.method import from_probabilities
from adapter.methods.zero_shot import ZeroShot, class_probabilities


def test_probabilities_from_given_embeddings():
    images = np.array([[1.0, 0.0], [0.6, 0.8]])
    prompts = np.array([[1.0, 0.0], [0.0, 1.0]])
    expected_first = 1 / (1 + np.exp(-100.0))
    expected_second = 1 / (1 + np.exp(100 * (0.8 - 0.6)))
    found = class_probabilities(images, prompts, 100.0)
    assert found[:, 0] == pytest.approx([expected_first, expected_second])
    assert found.sum(axis=1) == pytest.approx([1, 1])


def test_the_value_is_the_expected_class_value():
    prediction = from_probabilities(np.array([[0.25, 0.75]]), np.array([10.0, 20.0]))
    assert prediction.values.tolist() == [17.5]


def test_agrees_with_the_text_tower(make_fold, soft_text):
    data = make_fold()
    prediction = ZeroShot().fit(data).predict(data.vectors, data.test.rows[:3])
    prompts = soft_text.encode(data.class_prompts).numpy()
    images = data.vectors.pooled[data.test.rows[:3]]
    cosines = images @ prompts.T / np.linalg.norm(images, axis=1, keepdims=True)
    powers = np.exp(soft_text.logit_scale * cosines)
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-4)

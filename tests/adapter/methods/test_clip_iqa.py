from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from adapter.errors import ConfigError
from adapter.methods.clip_iqa import ClipIqa, ClipIqaPlus, antonym_score


def test_score_from_given_embeddings():
    # The worked case: cosines 0.3 and 0.25 at scale 100 give sigmoid(5).
    image = np.array([[0.3, 0.25, np.sqrt(1 - 0.3**2 - 0.25**2)]])
    prompts = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    assert antonym_score(image, prompts, 100.0) == pytest.approx([1 / (1 + np.exp(-5))])
    assert antonym_score(image, prompts, 1.0) == pytest.approx([1 / (1 + np.exp(-0.05))])


def test_swapping_the_prompts_mirrors_the_scale(make_fold):
    data = make_fold(40)
    low, high = data.value_range
    straight = ClipIqa().fit(data).predict(data.vectors, data.test.rows).values
    swapped = make_fold(40, antonyms=data.antonyms[::-1])
    np.testing.assert_allclose(
        ClipIqa().fit(swapped).predict(data.vectors, data.test.rows).values,
        low + high - straight,
        rtol=1e-6,
    )


def test_tuning_learns_a_planted_order(make_fold):
    data = make_fold()
    method = ClipIqaPlus(context=4, steps=150, lr=0.2)
    found = method.fit(data).predict(data.vectors, data.test.rows).values
    assert spearmanr(found, data.test.values).statistic > 0.5
    assert data.value_range[0] <= found.min() <= found.max() <= data.value_range[1]


def test_learns_nothing_from_shuffled_labels(make_fold):
    data = make_fold(shuffle=True)
    found = (
        ClipIqaPlus(context=4, steps=150, lr=0.2)
        .fit(data)
        .predict(data.vectors, data.test.rows)
        .values
    )
    assert abs(spearmanr(found, data.test.values).statistic) < 0.3


def test_an_odd_context_is_refused():
    with pytest.raises(ConfigError, match="even"):
        ClipIqaPlus(context=3)

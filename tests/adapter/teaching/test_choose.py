from __future__ import annotations

import numpy as np
import pytest

from adapter.data.comparisons import Comparisons
from adapter.errors import ConfigError
from adapter.teaching.choose import RANDOM_EVERY, next_pair
from adapter.teaching.linear import fit_linear, standardized

FEATURES = standardized(np.random.default_rng(0).normal(size=(50, 6)))


def taste(pairs):
    left, right = (
        (np.array(side, np.int64) for side in zip(*pairs, strict=True))
        if pairs
        else (np.empty(0, np.int64),) * 2
    )
    shares = (FEATURES[left, 0] > FEATURES[right, 0]).astype(float)
    return fit_linear(
        FEATURES, Comparisons(question="q", left=left, right=right, shares=shares), ridge=0.1
    )


def test_some_pairs_are_random_and_the_others_tell_most():
    asked: list[tuple[int, int]] = []
    kinds = []
    for _ in range(8):
        model = taste(asked)
        question = next_pair(FEATURES, model, asked)
        kinds.append(question.drawn)
        if question.drawn == "active":
            pairs = np.random.default_rng(1).integers(0, 50, (200, 2))
            pairs = pairs[pairs[:, 0] != pairs[:, 1]]
            others = model.information(FEATURES[pairs[:, 0]] - FEATURES[pairs[:, 1]], FEATURES)
            this = model.information(
                FEATURES[[question.left]] - FEATURES[[question.right]], FEATURES
            )
            assert this[0] > np.quantile(others, 0.9)
        asked.append((question.left, question.right))
    assert [k == "random" for k in kinds] == [n % RANDOM_EVERY == 0 for n in range(8)]
    assert len({frozenset(pair) for pair in asked}) == 8


def test_the_pair_is_a_function_of_the_seed_and_what_was_asked():
    asked = [(0, 1), (2, 3)]
    assert next_pair(FEATURES, taste(asked), asked) == next_pair(FEATURES, taste(asked), asked)
    assert next_pair(FEATURES, taste([]), []) != next_pair(FEATURES, taste([]), [], seed=1)


def test_every_pair_is_asked_before_it_ends():
    rows = np.array([3, 5, 9])
    asked: list[tuple[int, int]] = []
    for _ in range(3):
        question = next_pair(FEATURES, taste(asked), asked, rows)
        asked.append((question.left, question.right))
    assert {frozenset(pair) for pair in asked} == {
        frozenset(pair) for pair in [(3, 5), (3, 9), (5, 9)]
    }
    with pytest.raises(ConfigError, match="every pair"):
        next_pair(FEATURES, taste(asked), asked, rows)
    with pytest.raises(ConfigError, match="two photos"):
        next_pair(FEATURES, taste([]), [], rows[:1])

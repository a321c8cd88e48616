from __future__ import annotations

import pytest

from adapter.errors import ConfigError, LabelsError
from adapter.methods.coop import CoOp


def test_learns_a_planted_signal_and_nothing_from_shuffled_labels(make_fold, accuracy):
    method = CoOp(context=4, steps=60, lr=0.05)
    assert accuracy(method, make_fold()) > 0.6
    assert accuracy(method, make_fold(shuffle=True)) < 0.45


def test_the_same_seed_gives_the_same_context(make_fold):
    first, second = (CoOp(context=2, steps=3).fit(make_fold(60)).prompts for _ in range(2))
    assert (first == second).all()


def test_a_value_without_a_class_is_refused(make_fold):
    data = make_fold(20)
    data.train.values[0] = 10.5
    with pytest.raises(LabelsError, match=r"10\.5"):
        CoOp(steps=1).fit(data)


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="context"):
        CoOp(context=0)

from __future__ import annotations

import numpy as np
import pytest

from adapter.data.comparisons import Comparisons
from adapter.evaluation.agreement import agreement, wilson


def test_agreement_counts_sides_and_halves_equal_scores():
    answers = Comparisons(
        question="q",
        left=np.array([0, 1, 2, 0]),
        right=np.array([1, 0, 3, 3]),
        shares=np.array([0.0, 0.0, 1.0, 0.5]),
    )
    found = agreement(np.array([1.0, 2.0, 3.0, 3.0]), answers)
    assert (found.count, found.agreed) == (3, 1.5)  # agreed, not, by half; the tie is left out


def test_the_interval_is_wilsons():
    found = wilson(8, 10)  # values of Wilson's formula
    assert (found.low, found.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 0).share is None
    assert wilson(5, 5).high == 1.0

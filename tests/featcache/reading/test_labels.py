import numpy as np
import pytest

from featcache.reading.labels import (
    first_contradiction,
    first_unusable,
    in_fold,
    numbered_folds,
    starts,
)


def test_a_label_without_a_fold_belongs_to_each():
    folds = np.array([-1, 2, 0, -1, 2])
    assert numbered_folds(folds) == [0, 2]
    assert in_fold(folds, 2).tolist() == [True, True, False, True, True]
    assert in_fold(folds, None).tolist() == [True, False, False, True, False]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_cannot_be_squared_is_no_value(value):
    assert first_unusable(np.array([1.0, -1e30, value])) == 2
    assert first_unusable(np.array([1.0, -1e30])) is None


def test_each_code_once_and_with_one_value():
    codes = np.array([3, 3, 4, 7, 7])
    assert starts(codes).tolist() == [True, False, True, True, False]
    assert first_contradiction(codes, np.array([1.0, 1, 2, 5, 5])) is None
    assert first_contradiction(codes, np.array([1.0, 1, 2, 5, 6])) == 3
    assert starts(codes[:0]).tolist() == []
    assert first_contradiction(codes[:0], np.empty(0)) is None

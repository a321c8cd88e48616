from __future__ import annotations

import numpy as np
import pytest

from adapter.data.labels import select_labels
from adapter.errors import LabelsError
from adapter.reproduction.resplit import Resplit, resplit


def parts(cache, plan, number):
    found = resplit(cache, "score", "beauty", plan, number)
    return {
        split: select_labels(found, split=split, fold=number).queries[0]
        for split in ("train", "test")
    }


def test_splits_are_disjoint_and_of_the_sizes(cache):
    chosen = parts(cache, Resplit(test=20, train=10), 1)
    assert (len(chosen["test"].rows), len(chosen["train"].rows)) == (20, 10)
    assert not set(chosen["test"].rows) & set(chosen["train"].rows)
    others = parts(cache, Resplit(test=20), 1)
    assert len(others["train"].rows) == len(cache) - 20


def test_the_test_part_stays_and_training_parts_grow(cache):
    small, large = (parts(cache, Resplit(test=20, train=n), 2) for n in (5, 30))
    assert np.array_equal(small["test"].rows, large["test"].rows)
    assert set(small["train"].rows) < set(large["train"].rows)
    other = parts(cache, Resplit(test=20, train=30), 3)
    assert set(other["test"].rows) != set(large["test"].rows)


def test_labels_stay_with_their_images(cache):
    before = {
        row: value
        for split in ("train", "val", "test")
        for labels in select_labels(cache, split=split, queries=("beauty",)).queries
        for row, value in zip(labels.rows, labels.values, strict=True)
    }
    for labels in parts(cache, Resplit(test=20), 0).values():
        assert [before[row] for row in labels.rows] == labels.values.tolist()


def test_too_few_images_are_refused(cache):
    with pytest.raises(LabelsError, match="61 images are to be split, 60 are labeled"):
        resplit(cache, "score", "beauty", Resplit(test=11, train=50), 0)

"""What was asked for by name, against the labels that there are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from adapter.data.selectors import choose_fold, choose_query, choose_splits
from adapter.errors import LabelsError
from featcache.datasets.columns import labels_of
from featcache.datasets.records import Label


def cache(*labels):
    return SimpleNamespace(dataset="table", name="photos", labels=labels_of(labels))


def label(**changes):
    fields = {"sample_id": "a", "task": "t", "query": "by age.", "value": 1.0, "split": "train"}
    return Label(**{**fields, **changes})


def test_names_are_cleaned_and_must_be_there():
    caches = [cache(label(), label(sample_id="b", split="test", fold=2))]
    assert choose_splits(caches, " test , train,test") == ("test", "train")
    assert choose_query(caches, "  by age. ") == "by age."
    assert choose_fold(caches, 2) == 2
    with pytest.raises(LabelsError, match="no split 'val'; there are test, train"):
        choose_splits(caches, "val")
    with pytest.raises(LabelsError, match=r"no query 'by agge\.'; there are by age\."):
        choose_query(caches, "by agge.")
    with pytest.raises(LabelsError, match="no fold 3; there are 2"):
        choose_fold(caches, 3)


def test_a_cache_without_labels_says_how_to_get_some():
    with pytest.raises(LabelsError, match="photos: no labels; add some: featcache labels"):
        choose_splits([cache()], "train")

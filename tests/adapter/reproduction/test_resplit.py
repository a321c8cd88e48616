from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from adapter.data.labels import select_labels
from adapter.errors import ConfigError, LabelsError
from adapter.reproduction.data import TaskData
from adapter.reproduction.recipe import Resplit, Task
from adapter.reproduction.resplit import ResplitCache, resplit
from featcache.reading.cache import Cache


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


def test_a_task_is_learned_and_tested_on_the_splits_that_are_drawn(cache, tmp_path):
    nobody = pa.nulls(cache.labels.num_rows, pa.list_(pa.float32()))
    known = ResplitCache(cache, cache.labels.append_column("distribution", nobody))
    task = Task(
        key="beauty-10",
        title="Beauty",
        dataset="table",
        folders=("beauty",),
        folds=(0, 1),
        resplit=Resplit(test=20, train=10),
        task="score",
        query="beauty",
        metrics=("srcc",),
    )
    data = TaskData(task, SimpleNamespace(cache=known, vectors=None))
    for fold in task.folds:
        (found,) = data.folds(fold, 3, tmp_path, "cpu")
        assert (len(found.train.rows), len(found.test.rows)) == (10, 20)
        # What a method reads of the cache itself is the same split.
        seen = select_labels(found.cache, split="train", fold=found.fold).queries[0]
        assert np.array_equal(seen.rows, found.train.rows)
        assert found.cache.prompt("beauty") is cache.prompt("beauty")


def test_drawn_splits_need_one_query_and_numbers():
    values = {"key": "x", "title": "x", "dataset": "table", "folders": ("x",), "task": "score"}
    with pytest.raises(ConfigError, match="numbers of folds"):
        Task(**values, query="beauty", resplit=Resplit(test=1))
    with pytest.raises(ConfigError, match="one query"):
        Task(**values, queries=("a", "b"), folds=(0,), resplit=Resplit(test=1))


def test_a_cache_on_the_disk_is_read_under_the_labels_that_were_drawn():
    """Every reader of labels: the plain ones, and those that come as codes."""
    real = Cache.open(Path(__file__).parents[2] / "data" / "version1" / "cache")
    first = real.labels.slice(0, 1).to_pylist()[0]
    found = resplit(real, first["task"], first["query"], Resplit(test=4, train=5), 7)
    assert found.labels.num_rows == found.coded_labels.num_rows == 9
    sides = {side: select_labels(found, split=side, fold=7).queries for side in ("train", "test")}
    assert {side: len(queries[0].rows) for side, queries in sides.items()} == {
        "train": 5,
        "test": 4,
    }

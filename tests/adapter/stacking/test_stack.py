from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from adapter.errors import CheckpointError, CheckpointNotFoundError
from adapter.stacking import stack as stack_module
from adapter.stacking.curve import Landmarks
from adapter.stacking.stack import LINES, STACK, Stack, StackedQuery, image_vectors


def stacked(query="beauty", task="score", cache=0, **changes):
    values = {
        "line": np.linspace(-1, 1, 12),
        "intercept": 0.5,
        "adapter_weight": 0.25,
        "line_weight": 0.5,
        "offset": 3.0,
        "images": 9,
        "errors": {"adapter": 1.0, "line": 2.0, "stack": 0.5},
    }
    return StackedQuery(query=query, task=task, cache=cache, **(values | changes))


def test_what_is_saved_is_loaded(tmp_path):
    stack = Stack(queries=(stacked(), stacked("cats", "count")))
    stack.save(tmp_path)
    loaded = Stack.load(tmp_path)
    assert [q.to_dict() for q in loaded.queries] == [q.to_dict() for q in stack.queries]
    for one, two in zip(loaded.queries, stack.queries, strict=True):
        assert np.array_equal(one.line, two.line)


def test_curves_are_saved_once_per_cache(tmp_path, cache):
    rows = np.arange(20)
    x = image_vectors(cache, rows, "original")
    curves = [Landmarks.choose(x + move, slice(4, None)) for move in (0, 1)]
    queries = [
        stacked(query, cache=at, landmarks=(curves[at],), curves=(np.linspace(-1, 1, 20) * at,))
        for at in (0, 1)
        for query in ("beauty", "cats")
    ]
    Stack(queries=tuple(queries)).save(tmp_path)
    loaded = Stack.load(tmp_path)
    for before, after in zip(queries, loaded.queries, strict=True):
        expected = before.regress(cache, rows, ["original"])
        assert np.array_equal(after.regress(cache, rows, ["original"]), expected)
    kept = [name for name in load_file(tmp_path / LINES) if name.endswith("points")]
    assert sorted(kept) == ["landmarks/0/0/points", "landmarks/1/0/points"]


def test_large_folders_are_read_in_blocks(cache, monkeypatch):
    query, rows = stacked(), np.arange(11)
    expected = query.regress(cache, rows, cache.views)
    monkeypatch.setattr(stack_module, "BLOCK", 3)
    assert np.allclose(query.regress(cache, rows, cache.views), expected)


def test_a_stack_that_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="preset best"):
        Stack.load(tmp_path)
    Stack(queries=(stacked(),)).save(tmp_path)
    (tmp_path / LINES).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=LINES):
        Stack.load(tmp_path)
    (tmp_path / STACK).write_text('{"format": 2}')
    with pytest.raises(CheckpointError, match="format 1"):
        Stack.load(tmp_path)


def test_a_query_is_found_by_cache_then_alone():
    one, two, other = stacked(cache=0), stacked(cache=1), stacked("cats", "count", cache=1)
    stack = Stack(queries=(one, two, other))
    assert stack.find("beauty", cache=1) is two
    assert stack.find("beauty", "score", 0) is one
    assert stack.find("beauty") is None  # two lines, and no cache that says which
    assert stack.find("cats") is stack.find("cats", "count", 5) is other
    assert stack.find("cats", "score") is None
    assert stack.find("dogs") is None


def test_the_regression_reads_its_features_over_all_views(cache):
    query, rows = stacked(), np.array([5, 0, 7])
    found = query.regress(cache, rows, cache.views)
    for at, row in enumerate(rows):
        means = [cache.features[row, view].mean(axis=0, dtype=np.float32) for view in range(2)]
        each = [np.concatenate([mean[::2], mean]) @ query.line + 0.5 for mean in means]
        assert found[at] == pytest.approx(np.mean(each), abs=1e-5)


def test_members_are_added_with_their_weights():
    values = stacked().combine(np.array([4.0, 8.0]), np.array([2.0, 0.0]))
    assert values.tolist() == [3 + 1 + 1, 3 + 2 + 0]

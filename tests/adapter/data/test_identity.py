"""Which cache is which, whatever its data set is called."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from adapter.data.identity import cache_titles, describe, labels_digest, position, same_cache
from adapter.data.labels import select_labels


def known(path="cache", dataset="table", identity=None):
    return {"path": path, "dataset": dataset, "identity": identity}


@pytest.mark.parametrize(
    ("recorded", "found", "same"),
    [
        (known(identity="a"), known("moved", identity="a"), True),
        (known(identity="a"), known(identity="b"), False),
        ({"path": "cache", "dataset": "table"}, known(identity="a"), True),  # an older run
        ({"path": "cache", "dataset": "table"}, known("other", identity="a"), False),
    ],
)
def test_identity_decides_before_names(recorded, found, same):
    assert same_cache(recorded, found) is same


def test_the_number_of_a_cache_in_a_run(make_cache):
    one, two = make_cache(path="one"), make_cache(path="two")
    recorded = [describe(one), describe(two)]
    assert [position(recorded, cache) for cache in (two, one)] == [1, 0]
    assert position(recorded, make_cache(path="three")) is None


def test_a_copy_of_a_cache_is_told_by_its_path():
    one, two = (SimpleNamespace(dataset="table", path=p, identity="same") for p in "ab")
    recorded = [describe(one), describe(two)]
    assert [position(recorded, cache) for cache in (one, two)] == [0, 1]
    moved = SimpleNamespace(dataset="table", path="c", identity="same")
    assert position(recorded, moved) == 0


def test_titles_tell_caches_of_one_name_apart(make_cache):
    paths = ("x/one", "x/two", "y/two")
    caches = [make_cache(dataset="table", path=path) for path in paths]
    assert cache_titles(caches[:1]) == ["table"]
    assert cache_titles(caches[:2]) == ["table (one)", "table (two)"]
    assert cache_titles(caches) == ["table (x/one)", "table (x/two)", "table (y/two)"]
    assert len(set(cache_titles([caches[0], caches[0]]))) == 2


def test_a_digest_of_labels_sees_a_value_and_no_order(make_cache):
    cache = make_cache()
    before = labels_digest(select_labels(cache, split="train"))
    cache.label_rows.reverse()
    assert labels_digest(select_labels(cache, split="train")) == before
    name, task, query, value, split, fold = cache.label_rows[-1]
    cache.label_rows[-1] = (name, task, query, value + 1, split, fold)
    assert labels_digest(select_labels(cache, split="train")) != before

"""A trained run ranks and scores, in the labels' unit. This one was made by version 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adapter.errors import ConfigError
from adapter.run import Run
from featcache.reading.cache import Cache

VERSION1 = Path(__file__).parents[1] / "data" / "version1"


@pytest.fixture(scope="module")
def run():
    return Run.load(VERSION1 / "run")


def test_a_cache_is_ranked_and_scored_in_the_labels_unit(run):
    cache, query = Cache.open(VERSION1 / "cache"), run.queries[0]
    ranking = run.rank(VERSION1 / "cache", query)
    assert list(run.rank(cache, query)) == list(ranking)
    scores = run.score(cache, range(len(cache)), query)
    assert scores.dtype == np.float64
    assert sorted(scores, reverse=True) == pytest.approx(ranking.scores)
    assert 1 < scores.mean() < 14.5  # the labels' range
    np.testing.assert_allclose(run.score(cache, [3, 0], query), scores[[3, 0]], rtol=1e-5)


def test_a_folder_of_images_is_ranked_as_its_cache(run, tmp_path):
    query = run.queries[0]
    found = dict(run.rank(VERSION1 / "photos", query, keep=tmp_path / "kept"))
    expected = dict(run.rank(VERSION1 / "cache", query))
    assert found == pytest.approx(expected, rel=1e-3)
    assert len(Cache.open(tmp_path / "kept")) == len(expected)


def test_what_is_neither_a_cache_nor_a_folder(run, tmp_path):
    with pytest.raises(ConfigError, match="neither a cache nor a folder"):
        run.rank(tmp_path / "nothing", "query")


def test_the_closest_query_of_a_misspelt_one(run):
    query = run.queries[0]
    assert run.about_query(query) is None
    assert repr(query) in run.about_query(query.replace("sort", "srot"))

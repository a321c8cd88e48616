from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from adapter.data.labels import select_labels
from adapter.evaluation.metrics import measure
from adapter.methods.method import ImageVectors, Part
from adapter.methods.ridge import fit_probe
from adapter.pages import baselines
from adapter.pages.baselines import ABOUT, CLIP_IQA, RIDGE, ZERO_SHOT, Baselines
from adapter.pages.build import NAMES, STACKED
from adapter.settings import TrainConfig
from featcache import Cache

FOLDER = Path(__file__).parents[2] / "data" / "version1" / "cache"
SETTINGS = TrainConfig().to_dict()


@pytest.fixture
def cache():
    return Cache.open(FOLDER)


@pytest.fixture
def queries(cache):
    """The queries of the training part, asked about the same images."""
    return [
        SimpleNamespace(query=q.query, task=q.task, rows=q.rows, values=q.values)
        for q in select_labels(cache, split=("train",)).queries
    ]


def test_ridge_is_that_of_the_method_with_one_decomposition_for_all_queries(
    cache, queries, monkeypatch
):
    made = []
    real = baselines.ProbeFeatures
    monkeypatch.setattr(
        baselines,
        "ProbeFeatures",
        lambda *given, **named: made.append(given[1]) or real(*given, **named),
    )
    beside, vectors = Baselines(cache, SETTINGS, None), ImageVectors(cache)
    for query in queries:
        found, predictions = beside.measure(query)
        assert list(found) == list(RIDGE.values())
        for features, name in RIDGE.items():
            part = Part(rows=query.rows, values=query.values)
            values = fit_probe(vectors, features, part).predict(vectors, query.rows).values
            bounds = (query.values.min(), query.values.max())
            expected = measure(query.values, values, label_range=bounds)
            assert found[name].to_dict() == expected.to_dict()
            np.testing.assert_array_equal(predictions[name], values)
    same = all(np.array_equal(q.rows, queries[0].rows) for q in queries)
    assert len(made) == (len(RIDGE) if same else len(made))
    assert set(made) == set(RIDGE)


def test_a_query_without_training_labels_has_no_ridge(cache, queries):
    query = SimpleNamespace(**{**vars(queries[0]), "task": "another"})
    assert Baselines(cache, SETTINGS, None).measure(query) == ({}, {})


def test_every_method_is_explained_in_sentences():
    ours = (*NAMES.values(), *STACKED.values())
    assert set(ABOUT) == {ZERO_SHOT, CLIP_IQA, *RIDGE.values(), *ours}
    assert all(text.endswith(".") and len(text) < 200 for text in ABOUT.values())

"""Units: from labels to the network and back."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.data.targets import TargetScale, TargetScales, fit_scales


def selection(*queries: tuple[str, str, list[float]]) -> SimpleNamespace:
    return SimpleNamespace(
        queries=[
            SimpleNamespace(task=task, query=query, values=np.array(values))
            for task, query, values in queries
        ]
    )


FACES = selection(("age", "years", [20.0, 40.0]), ("age", "age", [60.0]), ("smile", "smile", [3.0]))
PETS = selection(("age", "age", [1.0, 3.0]))
SCALES = fit_scales([("faces", FACES), ("pets", PETS)], "standardize")


def test_one_unit_per_cache_and_task():
    assert [(s.dataset, s.task) for s in SCALES.scales] == [
        ("faces", "age"),
        ("faces", "smile"),
        ("pets", "age"),
    ]
    age = SCALES.of_task(0, "age")
    assert (age.mean, age.std) == (40.0, pytest.approx(np.std([20, 40, 60])))
    assert (age.low, age.high) == (20.0, 60.0)
    assert age.queries == ("years", "age")
    with pytest.raises(KeyError):
        SCALES.of_task(1, "smile")


def test_equal_labels_keep_a_step_of_one():
    smile = SCALES.of_task(0, "smile")
    assert (smile.mean, smile.std) == (3.0, 1.0)


def test_raw_values_as_released():
    (age, _) = fit_scales([("faces", FACES)], "none").scales
    assert (age.mean, age.std, age.low, age.high) == (0.0, 1.0, 20.0, 60.0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_there_and_back(values):
    (scale,) = fit_scales([("d", selection(("t", "q", values)))], "standardize").scales
    array = np.array(values)
    unit = scale.standardize(array)
    np.testing.assert_allclose(scale.restore(unit), array, rtol=1e-9, atol=1e-6)
    order = np.argsort(array, kind="stable")
    assert (np.diff(unit[order]) >= 0).all()


@pytest.mark.parametrize(
    ("query", "task", "dataset", "expected"),
    [
        ("new", "age", "pets", ("pets", "age")),  # data set and task
        ("smile", None, None, ("faces", "smile")),  # the query itself
        ("new", "smile", "birds", ("faces", "smile")),  # the task alone
        ("new", "age", "birds", ("birds", "age")),  # of two units, neither
        ("years", "smile", None, ("faces", "smile")),  # a query of another task is not it
    ],
)
def test_the_unit_of_a_query_is_the_best_match(query, task, dataset, expected):
    found = SCALES.find(query, task, dataset)
    assert (found.dataset, found.task) == expected


def test_what_nothing_matches_stays_in_the_network_s_unit():
    found = SCALES.find("new")
    assert (found.mean, found.std) == (0.0, 1.0)
    only = TargetScales(scales=SCALES.scales[:1])
    assert only.find("new") is only.scales[0]
    assert only.find("new", task="smile").mean == 0.0


def test_two_caches_of_one_name_keep_their_units():
    years, scores = (
        selection(("table", "age", [20.0, 60.0])),
        selection(("table", "art", [0.0, 1.0])),
    )
    scales = fit_scales([("table", years), ("table", scores)], "standardize")
    assert [scales.of_task(n, "table").mean for n in (0, 1)] == [40.0, 0.5]
    assert scales.find("art", "table", "table", cache=1).mean == 0.5
    assert scales.find("age", "table", "table").mean == 40.0  # a cache that the run never saw
    # The name alone does not tell which of two units is meant: neither is taken.
    assert scales.find("new", "table", "table").mean == 0.0


def test_runs_of_before_gave_all_caches_of_a_name_the_first_unit():
    years, scores = (
        selection(("table", "age", [20.0, 60.0])),
        selection(("table", "art", [0.0, 1.0])),
    )
    values = fit_scales([("table", years), ("table", scores)], "standardize").to_list()
    scales = TargetScales.from_list([{k: v for k, v in s.items() if k != "cache"} for s in values])
    assert len(scales.scales) == 1
    for cache in (0, 1, None):
        assert scales.find("art", "table", "table", cache).mean == 40.0


def test_units_survive_json():
    assert TargetScales.from_list(json.loads(json.dumps(SCALES.to_list()))) == SCALES
    assert isinstance(SCALES.scales[0], TargetScale)

import numpy as np
import pytest

from featcache.backbone.embedded.facts import CATEGORIES, FEATURES, INDEX, Fact, hold, truth_of
from featcache.datasets.scenes import CLEAN, Look, SceneObject

MEASURES = {"brightness": 0.4, "contrast": 0.2, "colourfulness": 40.0}


def thing(color, shape, material="metal", size="large"):
    return SceneObject(color=color, shape=shape, material=material, size=size, x=9, y=9, radius=5.0)


OBJECTS = [thing("red", "cube"), thing("red", "sphere", "rubber"), thing("blue", "cube")]


def fact(feature, low, high, margin=0.0):
    return Fact(
        text="", role="object", feature=INDEX[feature], low=low, high=high, margin=margin,
        source=("", 0, 0),
    )  # fmt: skip


def test_a_row_counts_every_category():
    row = truth_of(OBJECTS, CLEAN, MEASURES)
    expected = {
        (): 3,
        ("red",): 2,
        ("cube",): 2,
        ("red", "cube"): 1,
        ("red", "rubber"): 1,
        ("metal", "cube"): 2,
        ("blue", "sphere"): 0,
        ("large",): 3,
        ("small",): 0,
        "brightness": np.float32(0.4),
        "year": 2020,
    }
    assert {feature: row[INDEX[feature]] for feature in expected} == expected
    assert len(row) == len(FEATURES)
    assert len(set(CATEGORIES)) == len(CATEGORIES)


def test_colors_are_unknown_in_a_gray_picture():
    for look in (Look(saturation=0.1), Look(decade=1930)):
        row = truth_of(OBJECTS, look, MEASURES)
        assert np.isnan(row[[INDEX["red",], INDEX["red", "cube"], INDEX["small", "gray"]]]).all()
        assert row[INDEX["cube",]] == 2


def test_quality_falls_with_every_degradation():
    best = truth_of([], CLEAN, MEASURES)[INDEX["quality"]]
    assert best == 0
    for look in (Look(blur=0.01), Look(noise=0.1), Look(blocks=0.1), Look(exposure=0.5)):
        assert truth_of([], look, MEASURES)[INDEX["quality"]] < best


def test_captions_hold_when_all_facts_do():
    truth = np.stack(
        [truth_of(OBJECTS, CLEAN, MEASURES), truth_of([], Look(decade=1930), MEASURES)]
    )
    captions = [
        [fact((), 2.5, 3.5)],
        [fact((), 2.5, 3.5), fact(("red",), 0.5, np.inf)],
        [fact((), -1, 0.5), fact(("red",), -1, 0.5)],
        [fact(("blue",), 1.5, 2.5)],
        [fact("brightness", 0.5, np.inf, margin=0.2)],
    ]
    found = hold(captions, truth)
    expected = [[1, 1, 0, 0, np.nan], [0, 0, np.nan, np.nan, np.nan]]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@pytest.mark.parametrize(("value", "expected"), [(0.6, 1), (0.45, np.nan), (0.3, 0)])
def test_near_a_threshold_nothing_is_sure(value, expected):
    row = truth_of([], CLEAN, {**MEASURES, "brightness": value})
    found = hold([[fact("brightness", 0.5, np.inf, margin=0.1)]], row[None])
    np.testing.assert_array_equal(found, [[np.float32(expected)]])

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.images.measures import MEASURES, measure


def by_definition(rgb):
    """The formulas of the docstring, spelled out in float64 on whole arrays."""
    red, green, blue = (rgb[..., i].astype(np.float64) for i in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    rg, yb = red - green, (red + green) / 2 - blue
    return {
        "brightness": luma.mean() / 255,
        "contrast": luma.std() / 255,
        "colourfulness": np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()),
    }


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    top=st.integers(1, 256),
)
def test_agrees_with_the_definition(seed, height, width, top):
    rgb = np.random.default_rng(seed).integers(0, top, (height, width, 3), dtype=np.uint8)
    found, expected = measure(rgb), by_definition(rgb)
    assert tuple(found) == MEASURES
    for name in MEASURES:
        assert found[name] == pytest.approx(expected[name], rel=1e-12, abs=1e-12)


def test_blocks_do_not_change_the_values():
    rgb = np.random.default_rng(0).integers(0, 256, (301, 450, 3), dtype=np.uint8)
    assert rgb.shape[0] * rgb.shape[1] > 2 * 65536
    expected = by_definition(rgb)
    found = measure(rgb)
    for name in MEASURES:
        assert found[name] == pytest.approx(expected[name], rel=1e-12)
    shuffled = rgb.reshape(-1, 3)[np.random.default_rng(1).permutation(301 * 450)]
    assert measure(shuffled.reshape(450, 301, 3)) == found, "the values are exact: order is nothing"


def test_known_images():
    black = np.zeros((4, 5, 3), np.uint8)
    assert measure(black) == {"brightness": 0, "contrast": 0, "colourfulness": 0}
    white = np.full((4, 5, 3), 255, np.uint8)
    assert measure(white) == {"brightness": 1, "contrast": 0, "colourfulness": 0}
    half = black.copy()
    half[:2] = 255
    assert measure(half)["brightness"] == pytest.approx(0.5)
    assert measure(half)["contrast"] == pytest.approx(0.5)
    red = black.copy()
    red[..., 0] = 255
    # rg = 255, yb = 127.5 everywhere: only the means count.
    assert measure(red)["colourfulness"] == pytest.approx(0.3 * np.hypot(255, 127.5))
    assert measure(red)["brightness"] == pytest.approx(0.299)


def test_reads_views_that_are_not_contiguous():
    rgb = np.random.default_rng(2).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    assert measure(rgb[::2, ::-1]) == measure(np.ascontiguousarray(rgb[::2, ::-1]))


@pytest.mark.parametrize(
    "refused",
    [
        np.zeros((4, 5, 3), np.float32),
        np.zeros((4, 5), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_refuses_what_is_not_an_image(refused):
    with pytest.raises(ValueError, match="expected pixels"):
        measure(refused)

import hashlib

import numpy as np
import pytest

from featcache.datasets.scenes import CLEAN, DECADES, Look, compose, develop, random_look
from featcache.datasets.scenes.looks import add_noise, block, blur, film, saturate
from featcache.images.measures import measure


@pytest.fixture(scope="module")
def image():
    return compose(np.random.default_rng(7), 128)[0]


def rng():
    return np.random.default_rng(0)


def roughness(image):
    return np.abs(np.diff(image, axis=1)).mean()


def test_looks_are_the_same_everywhere():
    digest = hashlib.sha256()
    for index in range(20):
        draw = np.random.default_rng([0, index])
        digest.update(develop(compose(draw, 64)[0], random_look(draw), draw).tobytes())
    assert digest.hexdigest() == "96e9323ec0a290c6e3f3c8e80acec47055f1b400fd7f15b32c28de5f4ff5d5eb"


def test_no_look_changes_nothing(image):
    assert np.array_equal(develop(image, CLEAN, rng()), (image * 255 + 0.5).astype(np.uint8))


def test_blur_grows_with_its_strength(image):
    values = [roughness(blur(image, strength)) for strength in (0.0, 0.004, 0.01, 0.02, 0.03)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.6 * values[0]
    assert np.array_equal(blur(image, 0.0), image)


@pytest.mark.parametrize("pixels", [0.5, 1.0, 2.0, 3.0])
def test_blur_has_the_variance_it_says(pixels):
    line = np.zeros((1, 64, 3))
    line[0, 32] = 1
    spread = blur(line, pixels / 64)[0, :, 0]
    place = np.arange(64) - 32
    assert spread.sum() == pytest.approx(1)
    assert np.sqrt((spread * place**2).sum()) == pytest.approx(pixels)


def test_noise_has_the_deviation_it_says():
    gray = np.full((64, 64, 3), 0.5)
    assert add_noise(gray, 0.05, rng()).std() == pytest.approx(0.05, rel=0.05)


def test_blocks_have_edges_every_eight_pixels():
    ramp = np.repeat(np.linspace(0, 1, 64)[None, :, None], 20, axis=0).repeat(3, axis=2)
    rounded = block(ramp, 0.5)
    assert rounded.shape == ramp.shape
    jumps = np.flatnonzero(np.diff(rounded[0, :, 0]))
    assert jumps.tolist() == [7, 15, 23, 31, 39, 47, 55]


def test_saturation(image):
    gray, same, more = (develop(image, Look(saturation=s), rng()) for s in (0.0, 1.0, 1.6))
    assert measure(gray)["colourfulness"] < 1
    assert measure(more)["colourfulness"] > measure(same)["colourfulness"]
    assert np.allclose(saturate(image, 1.0), image)


def test_exposure_and_contrast(image):
    dark, same, bright = (
        measure(develop(image, Look(exposure=e), rng()))["brightness"] for e in (0.5, 1, 1.5)
    )
    assert dark < same < bright
    low, high = (measure(develop(image, Look(contrast=c), rng()))["contrast"] for c in (0.4, 1.5))
    assert low < high


def test_films_gain_color_and_lose_grain(image):
    seen = [film(image, decade, rng()) for decade in DECADES]
    colors = [np.abs(saturate(x, 0.0) - x).mean() for x in seen]
    assert colors[-1] > 3 * colors[2]  # 2010s against the gray 1940s
    assert roughness(seen[0]) > 1.5 * roughness(seen[-1])
    assert len({x.tobytes() for x in seen}) == len(DECADES) == 10


def test_random_looks_are_varied():
    draw = rng()
    looks = [random_look(draw) for _ in range(300)]
    assert 30 < sum(look == CLEAN for look in looks) < 150
    assert {look.decade for look in looks} == {None, *DECADES}
    for name in ("blur", "noise", "blocks"):
        assert 30 < sum(getattr(look, name) > 0 for look in looks) < 120

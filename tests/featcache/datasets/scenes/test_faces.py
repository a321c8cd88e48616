import hashlib
from itertools import pairwise

import numpy as np
import pytest

from featcache.datasets.scenes.faces import MAX_AGE, draw_face


def face(age, seed=3, size=96):
    return draw_face(np.random.default_rng(seed), age, size)


def test_faces_are_the_same_everywhere():
    digest = hashlib.sha256()
    for age in range(0, 100, 10):
        digest.update((face(age, seed=age) * 255 + 0.5).astype(np.uint8).tobytes())
    assert digest.hexdigest() == "20604ef6b10aae6b634875e066c87c7d907a7557f2233bc3a2f6f6f9ca17fd97"


def test_every_decade_looks_different():
    faces = [face(age) for age in range(0, 101, 10)]
    for younger, older in pairwise(faces):
        assert np.abs(younger - older).max() > 0.1
    near, far = np.abs(faces[3] - faces[4]).mean(), np.abs(faces[3] - faces[9]).mean()
    assert far > near


def test_only_the_age_follows_from_the_age():
    corners = [face(age)[:4, :4] for age in (2, 30, 80)]
    assert np.array_equal(corners[0], corners[1])
    assert np.array_equal(corners[1], corners[2])
    assert not np.array_equal(face(30, seed=1), face(30, seed=2))


@pytest.mark.parametrize("age", [0, 35.5, MAX_AGE, 140])
def test_colors_stay_within_their_range(age):
    image = face(age)
    assert image.shape == (96, 96, 3)
    assert image.min() >= 0
    assert image.max() <= 1


def test_hair_turns_gray():
    def saturation(age):
        top = face(age, seed=6)[18:26, 40:56]
        return (top.max(-1) - top.min(-1)).mean()

    assert saturation(80) < saturation(30)

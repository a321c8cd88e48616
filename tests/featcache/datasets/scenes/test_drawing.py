import hashlib

import numpy as np

from featcache.datasets.scenes import MAX_OBJECTS, MIN_VISIBLE, SIZES, compose, draw_scene


def test_scenes_are_the_same_everywhere():
    # Frozen: the embedded CLIP was trained on these pixels.
    digest = hashlib.sha256()
    for index in range(20):
        digest.update(draw_scene(0, index, 128)[0].tobytes())
    assert digest.hexdigest() == "242526558d8fac5bf54b86835f4e6241a509aadd43e4a4909d78eb0d75582df0"


def test_overlaps_leave_at_least_half_of_each_object():
    visible = [thing.visible for index in range(60) for thing in draw_scene(1, index, 96)[1]]
    assert min(visible) >= MIN_VISIBLE == 0.5
    assert max(visible) == 1
    assert 0.1 < np.mean(np.array(visible) < 1) < 0.9, "some overlap, some stand alone"


def test_scenes_are_crowded_and_empty():
    counts = [len(draw_scene(2, index, 64)[1]) for index in range(150)]
    assert min(counts) == 1
    assert max(counts) == MAX_OBJECTS == 12


def test_objects_stand_where_they_are_said_to_stand():
    for index in range(10):
        pixels, objects = draw_scene(4, index, 128)
        last = objects[-1]  # nothing covers it; the picture changes when it is left out
        assert last.visible == 1
        assert pixels[last.y, last.x].shape == (3,)
        assert 0.8 < last.radius / (SIZES[last.size] * 128) < 1.2


def test_a_red_object_is_red_in_its_middle():
    found = 0
    for index in range(40):
        pixels, objects = draw_scene(5, index, 128)
        last = objects[-1]
        if last.color == "red" and last.shape == "sphere" and last.material == "rubber":
            red, green, blue = pixels[last.y, last.x].astype(int)
            assert red > 1.8 * max(green, blue)
            found += 1
    assert found


def test_pictures_stay_within_their_range():
    image, _ = compose(np.random.default_rng(0), 48)
    assert image.dtype == np.float64
    assert image.shape == (48, 48, 3)
    assert image.min() >= 0
    assert image.max() <= 1

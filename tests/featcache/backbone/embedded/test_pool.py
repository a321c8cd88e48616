import numpy as np
import pytest

from featcache.backbone.embedded.facts import INDEX
from featcache.backbone.embedded.pool import Pool, draw
from featcache.datasets.scenes.seeds import CLIP_TRAINING

SEED = CLIP_TRAINING[7]


def test_scenes_follow_from_seed_and_index():
    scenes, rest = draw(SEED, 0, 6, 32), draw(SEED, 4, 2, 32)
    assert scenes.pixels.shape == (6, 32, 32, 3)
    for name in ("pixels", "truth", "objects"):
        np.testing.assert_array_equal(getattr(scenes, name)[4:], getattr(rest, name))
    there = scenes.objects[..., 0] >= 0
    np.testing.assert_array_equal(there.sum(1), scenes.truth[:, INDEX[()]])
    assert scenes.objects[there].max(0).tolist()[:2] < [32, 32]


@pytest.fixture
def pool(tmp_path):
    with Pool(tmp_path, SEED, 32, 4) as pool:
        yield pool


def test_chunks_are_drawn_once_and_found_again(pool, tmp_path):
    pool.ask(1)
    taken = pool.take(np.array([0, 1, 1]), np.array([3, 0, 2]))
    all_scenes = draw(SEED, 0, 8, 32)
    np.testing.assert_array_equal(taken.pixels, all_scenes.pixels[[3, 4, 6]])
    np.testing.assert_array_equal(taken.truth, all_scenes.truth[[3, 4, 6]])
    (folder,) = tmp_path.iterdir()
    assert sorted(place.name for place in folder.iterdir()) == ["000000", "000001"]
    before = (folder / "000000" / "pixels.npy").stat().st_mtime_ns
    with Pool(tmp_path, SEED, 32, 4) as again:
        again.take(np.array([0]), np.array([1]))
    assert (folder / "000000" / "pixels.npy").stat().st_mtime_ns == before


def test_a_killed_drawing_process_is_started_again(pool):
    pool.ask(0)
    pool.take(np.array([0]), np.array([0]))
    (process,) = pool._process._processes.values()
    process.kill()
    process.join()
    pool.ask(1)
    taken = pool.take(np.array([1]), np.array([0]))
    np.testing.assert_array_equal(taken.pixels, draw(SEED, 4, 1, 32).pixels)

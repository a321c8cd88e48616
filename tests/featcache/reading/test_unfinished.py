"""How far an extraction is, read while it is not finished."""

import shutil

from featcache.reading.unfinished import read_so_far
from featcache.storage.manifest import Manifest


def test_so_far(cache_copy):
    (cache_copy / "shards/00003.h5").unlink()
    manifest = Manifest.read(cache_copy).unfinished()
    so_far = read_so_far(cache_copy, manifest)
    assert (so_far.shards, so_far.images) == (3, 7)
    assert [record.path for record in so_far.failures] == ["image_02.png", "image_07.png"]
    assert all("not an image" in (record.error or "") for record in so_far.failures)
    assert so_far.bytes == sum(f.stat().st_size for f in (cache_copy / "shards").iterdir())


def test_what_is_made_again_does_not_count(cache_copy):
    manifest = Manifest.read(cache_copy).unfinished()
    shutil.copy(cache_copy / "shards/00001.h5", cache_copy / "shards/00000.h5")
    (cache_copy / "shards/00002.h5").write_bytes(b"half")
    so_far = read_so_far(cache_copy, manifest)
    assert (so_far.shards, so_far.images, so_far.failures) == (2, 4, ())


def test_a_part(tmp_path, make_small_cache):
    path = make_small_cache(tmp_path / "part", part=(1, 3))
    so_far = read_so_far(path, Manifest.read(path))
    assert (so_far.shards, so_far.images, len(so_far.failures)) == (2, 3, 1)

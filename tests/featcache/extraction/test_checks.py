"""What is found before the first image."""

import shutil
from collections import namedtuple

import pytest
from PIL import Image

from featcache.datasets.base import ImageRecord
from featcache.errors import DiskSpaceError, TooManyFailuresError
from featcache.extraction import checks
from featcache.extraction.checks import free_bytes, named, require_readable, require_room
from featcache.storage.layout import bytes_per_image
from featcache.storage.manifest import Manifest

Usage = namedtuple("Usage", "total used free")


def test_free_bytes(tmp_path):
    assert free_bytes(tmp_path / "not/there") > 0
    assert free_bytes(tmp_path) > 0


def test_room(small_cache, tmp_path, monkeypatch):
    manifest = Manifest.read(small_cache)
    each = bytes_per_image(manifest.shapes, views=2, dtype="float16")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(9 * each, 0, 9 * each))
    require_room(tmp_path, manifest, 9)
    with pytest.raises(DiskSpaceError, match=r"--dtype int8.*for 10 images"):
        require_room(tmp_path, manifest, 10)


def test_extraction_looks_for_room(tmp_path, make_small_cache, monkeypatch):
    """Also where it was called from Python: not the command line looks, but `extract`."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 0, 100))
    with pytest.raises(DiskSpaceError, match="for 10 images"):
        make_small_cache(tmp_path / "c")
    assert not (tmp_path / "c").exists()
    (tmp_path / "c").mkdir()
    with pytest.raises(DiskSpaceError, match="for 10 images"):
        make_small_cache(tmp_path / "c")


def test_what_is_there_needs_no_room(cache_copy, make_small_cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100, 0, 0))
    make_small_cache(cache_copy)


@pytest.fixture
def images(tmp_path):
    """A hundred records of files that are not there, save one."""
    Image.new("L", (9, 9)).save(tmp_path / "50.png")
    return [ImageRecord(str(n), f"{n}.png") for n in range(100)]


def test_nothing_readable(images, tmp_path, tiny_backbone):
    def require(images, allowed):
        require_readable(tmp_path, images, tiny_backbone, allowed=allowed)

    with pytest.raises(TooManyFailuresError, match=r"tried 16 images of 99 .*\n  \d+\.png"):
        require(images[:50] + images[51:], 25)
    with pytest.raises(TooManyFailuresError, match="tried 3 images of 3 "):
        require(images[:3], 1)
    require(images[:3], 2)  # as many may fail
    require(images, 100)
    require(images[48:52], 1)  # one of them is readable
    require([], 0)


def test_a_root_of_other_images_is_told_at_once(tmp_path, make_small_cache, image_dataset):
    names = [record.path for record in image_dataset.images()]
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(image_dataset.root / "labels.csv", root)
    for name in names:
        (root / name).write_text("<html>")
    dataset = type(image_dataset)(root)
    with pytest.raises(TooManyFailuresError, match=r"tried 10 images .*\n  image_0\d\.png: "):
        make_small_cache(tmp_path / "c", dataset=dataset, max_failures=0.25)
    assert not (tmp_path / "c/cache.json").exists()


def test_named():
    assert named([("a.png", "empty")]) == "\n  a.png: empty"
    lines = named((f"{n}.png", "empty") for n in range(7)).splitlines()
    assert lines[-2:] == ["  4.png: empty", "  and 2 more"]
    assert checks.NAMED == 5

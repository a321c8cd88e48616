"""What an extraction makes, and what it finds in its folder."""

import json
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.backbone import BackboneSpec, load_backbone
from featcache.datasets import open_dataset
from featcache.datasets.base import ImageRecord
from featcache.datasets.folder import Folder
from featcache.datasets.stand_in import MARKER, StandIn
from featcache.errors import (
    DatasetError,
    FeatcacheError,
    FingerprintMismatchError,
)
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig, split_chunks
from featcache.maintenance.relabel import relabel
from featcache.reading.cache import Cache
from featcache.storage.entries import Part
from featcache.storage.manifest import Manifest


@pytest.mark.parametrize(
    "refused",
    [
        {"views": ()}, {"views": ("original", "original")}, {"views": ("rot90",)},
        {"dtype": "float64"}, {"batch_size": 0}, {"shard_size": 0}, {"limit": 0},
        {"max_failures": 2}, {"workers": -1}, {"part": (0, 2)}, {"part": (3, 2)},
    ],
)  # fmt: skip
def test_impossible_settings(refused):
    with pytest.raises(FeatcacheError):
        ExtractConfig(**refused)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("backbone.weights", {"pretrained": "seed:1"}),
        ("backbone.projection", {"projection": "none"}),
        ("backbone.token_pool", {"token_pool": 2}),
        ("views", {"views": ("original",)}),
        ("dtype", {"dtype": "int8"}),
    ],
)
def test_other_settings_are_refused_by_name(
    cache_copy, make_small_cache, tiny_config, tiny_backbone, name, changes, contents
):
    spec = {k: changes.pop(k) for k in list(changes) if k not in ("views", "dtype")}
    backbone = tiny_backbone
    if spec:
        backbone = load_backbone(
            BackboneSpec(**{"model_config": str(tiny_config), "pretrained": "seed:0", **spec})
        )
    before = contents(cache_copy)
    with pytest.raises(FingerprintMismatchError, match=f"  {re.escape(name)}"):
        make_small_cache(cache_copy, backbone=backbone, **changes)
    assert contents(cache_copy) == before


def test_other_data_is_refused(cache_copy, make_small_cache, image_folder, tmp_path):
    with pytest.raises(DatasetError, match="holds the data set table, not folder"):
        make_small_cache(cache_copy, dataset=open_dataset("folder", image_folder))
    with pytest.raises(FingerprintMismatchError, match="--shard-size 3"):
        make_small_cache(cache_copy, shard_size=4)
    (cache_copy / "cache.json").unlink()
    with pytest.raises(FeatcacheError, match="featcache repair"):
        make_small_cache(cache_copy)


def test_provenance_is_that_of_the_last_extraction(
    cache_copy, make_small_cache, image_folder, tmp_path, tiny_config
):
    """Where the labels came from, and how shards were made that had to be."""
    before = Manifest.read(cache_copy)
    table = shutil.copy(image_folder / "labels.csv", tmp_path / "other.csv")
    config = shutil.copy(tiny_config, tmp_path / "tiny.json")
    backbone = load_backbone(BackboneSpec(model_config=str(config), pretrained="seed:0"))
    dataset = open_dataset("table", image_folder, table=str(table))
    make_small_cache(cache_copy, dataset=dataset, backbone=backbone, batch_size=3)
    after = Manifest.read(cache_copy)
    assert after.dataset["options"]["table"] == str(table)
    assert after.backbone["model_config"] == str(config)
    assert after.provenance == before.provenance  # no shard was made
    assert after.shards() == before.shards()
    (cache_copy / "shards/00003.h5").unlink()
    make_small_cache(cache_copy, dataset=dataset, backbone=backbone, batch_size=3)
    assert Manifest.read(cache_copy).provenance == {**before.provenance, "batch_size": 3}


@pytest.mark.parametrize("finished", [True, False])
def test_a_copied_shard_is_refused(cache_copy, make_small_cache, small_cache, finished, contents):
    if not finished:
        Manifest.read(cache_copy).unfinished().write(cache_copy)
    shutil.copy(cache_copy / "shards/00000.h5", cache_copy / "shards/00002.h5")
    with pytest.raises(FingerprintMismatchError, match=r"it is shard 0: swapped.*remove it"):
        make_small_cache(cache_copy)
    (cache_copy / "shards/00002.h5").unlink()  # as the message says
    make_small_cache(cache_copy)
    assert contents(cache_copy) == contents(small_cache)


@pytest.mark.parametrize("name", ["a\0b", "a\udcff", ""])
def test_ids_that_cannot_be_stored(tmp_path, tiny_backbone, name):
    class Odd(Folder):
        def images(self):
            return [ImageRecord(name, "a.png")]

    with pytest.raises(DatasetError, match="UTF-8"):
        extract(Odd(tmp_path), tmp_path / "c", tiny_backbone)
    assert not (tmp_path / "c").exists()


def test_the_same_id_twice(tmp_path, tiny_backbone):
    class Twice(Folder):
        def images(self):
            return [ImageRecord("a", "a.png"), ImageRecord("a", "b.png")]

    with pytest.raises(DatasetError, match="'a' twice"):
        extract(Twice(tmp_path), tmp_path / "c", tiny_backbone)


@given(images=st.integers(0, 40), size=st.integers(1, 9), count=st.integers(1, 5))
def test_parts_make_each_shard_once(images, size, count):
    """Whichever machine makes it, a shard holds the same images."""
    planned = [ImageRecord(f"{n}", f"{n}.png") for n in range(images)]
    whole = split_chunks(planned, size)
    assert [image for n in sorted(whole) for image in whole[n]] == planned
    assert all(len(whole[n]) == size for n in sorted(whole)[:-1])
    made = {}
    for index in range(1, count + 1):
        part = split_chunks(planned, size, Part(index=index, count=count, images=images))
        assert not made.keys() & part.keys()
        made |= part
    assert made == whole


def test_a_cache_of_a_stand_in_says_so_and_takes_nothing_else(
    tmp_path, make_small_cache, cache_copy, image_folder, tiny_backbone
):
    folder = shutil.copytree(image_folder, tmp_path / "drawn")
    mark = StandIn(dataset="table", images=10).to_dict("Table of images")
    (folder / MARKER).write_text(json.dumps(mark))
    drawn = open_dataset("table", folder)
    cache = Cache.open(make_small_cache(tmp_path / "made", dataset=drawn))
    assert cache.stand_in
    assert cache.name == "table (drawn stand-in)"
    assert cache.manifest.dataset["stand_in"] is True
    with pytest.raises(DatasetError, match="holds a drawn stand-in of table, and these images"):
        make_small_cache(tmp_path / "made")
    assert Cache.open(tmp_path / "made").state == cache.state
    plain = Cache.open(cache_copy)
    assert (plain.stand_in, plain.name) == (False, "table")
    assert "stand_in" not in plain.manifest.dataset
    with pytest.raises(DatasetError, match="holds the real data set, and these images"):
        make_small_cache(cache_copy, dataset=drawn)
    relabel(cache_copy, drawn, lambda _: tiny_backbone)  # drawn labels of real images
    assert Cache.open(cache_copy).stand_in

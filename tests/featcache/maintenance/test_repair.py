"""Whatever is damaged comes back, with the same bytes, and nothing else is touched."""

import random
import shutil
from types import MappingProxyType

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from featcache.datasets import open_dataset
from featcache.datasets.table import Table
from featcache.errors import (
    CacheFormatError,
    CacheNotFoundError,
    DatasetError,
    FingerprintMismatchError,
)
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig, source_of
from featcache.maintenance.relabel import add_texts, relabel
from featcache.maintenance.repair import repair_cache
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache
from featcache.storage.manifest import Manifest
from featcache.storage.prompts import open_prompts
from featcache.storage.shard import open_shard


def flip(file, offset, bit=0):
    content = bytearray(file.read_bytes())
    content[offset] ^= 1 << bit
    file.write_bytes(content)


def region(cache, number, name):
    manifest = Manifest.read(cache)
    shard = open_shard(
        cache / f"shards/{number:05d}.h5", shapes=manifest.shapes, num_views=2, dtype="float16"
    )
    return shard.regions[name]


def no_backbone(manifest):
    raise AssertionError("the backbone is not needed")


@pytest.fixture
def images(tmp_path, image_folder):
    root = tmp_path / "images"
    shutil.copytree(image_folder, root)
    return root


@pytest.fixture
def mine(tmp_path, image_folder):
    """One label of the user's own."""
    (tmp_path / "mine.csv").write_text("path,query,value\nimage_00.png,sort by mine.,7\n")
    return open_dataset("table", image_folder, table=str(tmp_path / "mine.csv"))


def test_nothing_to_repair(cache_copy, image_folder, contents):
    before = contents(cache_copy)
    report = repair_cache(cache_copy, image_folder, backbone=no_backbone)
    assert not report.changed
    assert not report.damages
    assert report.failed == 2
    assert contents(cache_copy) == before


def test_only_the_damaged_shard_is_made_again(cache_copy, image_folder, tiny_backbone, contents):
    before = contents(cache_copy)
    where = region(cache_copy, 1, "tokens")
    flip(cache_copy / "shards/00001.h5", where.offset + 3)
    stamps = {n: (cache_copy / n).stat().st_mtime_ns for n in before if n != "cache.json"}
    events = []
    report = repair_cache(
        cache_copy, image_folder, backbone=lambda _: tiny_backbone, on_progress=events.append
    )
    assert report.remade == ("shards/00001.h5",)
    assert report.different == report.rewritten == ()
    assert contents(cache_copy) == before
    changed = {n for n, s in stamps.items() if (cache_copy / n).stat().st_mtime_ns != s}
    assert changed == {"shards/00001.h5"}
    assert {event.phase for event in events} == {"verify", "extract"}
    assert events[-1].done == events[-1].total == 3


@pytest.mark.parametrize("seed", range(12))
def test_any_damage_is_undone(cache_copy, image_folder, tiny_backbone, seed, contents):
    before = contents(cache_copy)
    generator = random.Random(seed)
    for name in generator.sample(sorted(before), k=1 + seed % 4):
        file = cache_copy / name
        match generator.randrange(3):
            case 0:
                flip(file, generator.randrange(len(before[name])), generator.randrange(8))
            case 1:
                file.write_bytes(before[name][: generator.randrange(len(before[name]))])
            case 2:
                file.unlink()
    report = repair_cache(cache_copy, image_folder, backbone=tiny_backbone)
    assert report.damages
    assert contents(cache_copy) == before
    assert verify_cache(cache_copy).ok


@pytest.mark.parametrize("lost", [(), ("cache.json", "samples.parquet")], ids=["one", "all"])
def test_a_copied_shard_is_made_again(cache_copy, image_folder, tiny_backbone, lost, contents):
    """Also where nothing but the data set knows which images it held."""
    before = contents(cache_copy)
    shutil.copy(cache_copy / "shards/00000.h5", cache_copy / "shards/00002.h5")
    for name in lost:
        (cache_copy / name).write_bytes(b"")
    report = repair_cache(cache_copy, image_folder, backbone=tiny_backbone)
    assert report.remade == ("shards/00002.h5",)
    assert contents(cache_copy) == before


def test_a_shard_with_intact_rows_is_mended_without_images(cache_copy, contents):
    before = contents(cache_copy)
    with (cache_copy / "shards/00000.h5").open("ab") as stream:
        stream.write(b"more")
    report = repair_cache(cache_copy, backbone=no_backbone)
    assert report.rewritten == ("shards/00000.h5",)
    assert contents(cache_copy) == before


@pytest.mark.parametrize(
    "names", [["samples.parquet"], ["cache.json"], ["cache.json", "samples.parquet"]]
)
def test_tables_come_from_the_shards_alone(cache_copy, names, contents):
    before = contents(cache_copy)
    for name in names:
        (cache_copy / name).unlink()
    repair_cache(cache_copy, backbone=no_backbone)
    assert contents(cache_copy) == before


def test_labels_come_from_the_data_set(cache_copy, image_folder, contents):
    before = contents(cache_copy)
    (cache_copy / "labels.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="give --root"):
        repair_cache(cache_copy, backbone=no_backbone)
    repair_cache(cache_copy, image_folder, backbone=no_backbone)
    assert contents(cache_copy) == before


def test_labels_of_the_user_stay(cache_copy, image_folder, tiny_backbone, mine, contents):
    relabel(cache_copy, mine, lambda _: tiny_backbone)
    before = contents(cache_copy)
    (cache_copy / "samples.parquet").unlink()
    flip(cache_copy / "shards/00002.h5", region(cache_copy, 2, "pooled").offset)
    repair_cache(cache_copy, image_folder, backbone=tiny_backbone)
    assert contents(cache_copy) == before
    assert Cache.open(cache_copy).labels["value"].to_pylist() == [7.0]


@pytest.mark.parametrize("append", [False, True])
def test_lost_labels_come_from_where_they_came(
    cache_copy, image_folder, tiny_backbone, tmp_path, append, contents
):
    """Labels that were replaced or appended later, not those of the extraction alone."""
    (tmp_path / "new.csv").write_text("path,query,value\nimage_03.png,by hand.,7\n")
    dataset = open_dataset("table", image_folder, table=str(tmp_path / "new.csv"))
    relabel(cache_copy, dataset, lambda _: tiny_backbone, append=append)
    before = contents(cache_copy)
    (cache_copy / "labels.parquet").unlink()
    repair_cache(cache_copy, image_folder, backbone=tiny_backbone)
    assert contents(cache_copy) == before


def test_an_interrupted_relabeling_is_settled(cache_copy, tiny_backbone, mine, contents):
    manifest = (cache_copy / "cache.json").read_bytes()
    relabel(cache_copy, mine, lambda _: tiny_backbone)
    after = contents(cache_copy)
    (cache_copy / "cache.json").write_bytes(manifest)  # as if killed before the last step
    assert {d.file for d in verify_cache(cache_copy).damages} == {"labels.parquet", "prompts.h5"}
    repair_cache(cache_copy, backbone=no_backbone)
    # Where the labels came from was not written yet: cache.json keeps what it said.
    settled = Manifest.read(cache_copy)
    settled.with_labels_of(source_of(mine), append=False).write(cache_copy)
    assert contents(cache_copy) == after


def test_a_damaged_prompt_is_encoded_again(cache_copy, tiny_backbone, contents):
    add_texts(cache_copy, ["an extra prompt."], lambda _: tiny_backbone)
    before = contents(cache_copy)
    manifest = Manifest.read(cache_copy)
    index = open_prompts(cache_copy, shapes=manifest.shapes, fingerprint=manifest.fingerprint)
    flip(cache_copy / "prompts.h5", index.regions["tokens"].offset + 5)
    report = repair_cache(cache_copy, backbone=tiny_backbone)
    assert report.rewritten == ("prompts.h5",)
    assert contents(cache_copy) == before


def test_damaged_lines_of_the_history_are_dropped(cache_copy):
    file = cache_copy / "history.jsonl"
    flip(file, 20)
    repair_cache(cache_copy, backbone=no_backbone)
    assert verify_cache(cache_copy).ok
    assert b'"command":"repair"' in file.read_bytes()


def test_failed_images_that_are_readable_now(cache_copy, images, tiny_backbone, tmp_path, contents):
    Image.new("RGB", (30, 20), (9, 200, 30)).save(images / "image_02.png")
    report = repair_cache(cache_copy, images, backbone=tiny_backbone)
    assert report.recovered == ("image_02.png",)
    assert report.remade == report.different == ("shards/00000.h5",)
    assert report.failed == 1
    fresh = tmp_path / "fresh"
    config = ExtractConfig(views=("original", "hflip"), batch_size=2, workers=1, shard_size=3)
    extract(open_dataset("table", images), fresh, tiny_backbone, config)
    assert contents(cache_copy) == contents(fresh)
    assert len(Cache.open(cache_copy)) == 9


class Measured(Table):
    measured_queries = MappingProxyType({"contrast": "contrast.", "brightness": "light."})


def test_measured_labels_of_recovered_images(tmp_path, images, tiny_backbone, contents):
    config = ExtractConfig(shard_size=3, batch_size=2, workers=1)
    extract(Measured(images), tmp_path / "cache", tiny_backbone, config)
    assert Cache.open(tmp_path / "cache").labels.num_rows == 30 + 2 * 8 * 3
    Image.new("RGB", (30, 20), (9, 200, 30)).save(images / "image_02.png")
    extract(Measured(images), tmp_path / "fresh", tiny_backbone, config)
    report = repair_cache(tmp_path / "cache", dataset=Measured(images), backbone=tiny_backbone)
    assert report.recovered == ("image_02.png",)
    assert contents(tmp_path / "cache") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_other_images_are_not_taken_silently(cache_copy, images, tiny_backbone, how):
    flip(cache_copy / "shards/00001.h5", region(cache_copy, 1, "tokens").offset)
    if how == "changed":
        Image.new("RGB", (30, 20), (9, 200, 30)).save(images / "image_04.png")
    else:
        (images / "image_04.png").unlink()
    with pytest.raises(DatasetError, match=r"image_04\.png.*not the image that was extracted"):
        repair_cache(cache_copy, images, backbone=tiny_backbone)
    report = repair_cache(cache_copy, images, backbone=tiny_backbone, accept_changed=True)
    assert report.different == ("shards/00001.h5",)
    assert report.failed == (2 if how == "changed" else 3)
    assert verify_cache(cache_copy).ok


def test_another_backbone_is_refused(cache_copy, image_folder):
    from featcache.backbone import BackboneSpec, load_backbone

    spec = Manifest.read(cache_copy).backbone
    other = load_backbone(BackboneSpec.from_dict({**spec, "pretrained": "seed:1"}))
    flip(cache_copy / "shards/00001.h5", region(cache_copy, 1, "tokens").offset)
    with pytest.raises(FingerprintMismatchError, match=r"backbone\.weights"):
        repair_cache(cache_copy, image_folder, backbone=other)


def test_what_cannot_be_repaired(cache_copy, tmp_path):
    with pytest.raises(CacheNotFoundError):
        repair_cache(tmp_path)
    Manifest.read(cache_copy).unfinished().write(cache_copy)
    with pytest.raises(CacheNotFoundError, match="run the same `featcache extract`"):
        repair_cache(cache_copy)
    (cache_copy / "cache.json").unlink()
    for shard in (cache_copy / "shards").iterdir():
        shard.write_bytes(b"")
    with pytest.raises(CacheFormatError, match="extract again"):
        repair_cache(cache_copy)
    assert pq.read_table(cache_copy / "samples.parquet").num_rows == 10
    assert np.all([shard.stat().st_size == 0 for shard in (cache_copy / "shards").iterdir()])

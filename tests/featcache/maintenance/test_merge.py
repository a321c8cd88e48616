"""Parts of several machines become the cache that one machine would have made."""

import errno
import os
import shutil
from dataclasses import replace
from types import MappingProxyType

import pyarrow.parquet as pq
import pytest

from featcache.datasets import open_dataset
from featcache.datasets.table import Table
from featcache.errors import (
    CacheFormatError,
    CacheNotFoundError,
    DatasetError,
    DiskSpaceError,
    FeatcacheError,
    FingerprintMismatchError,
)
from featcache.maintenance import merge
from featcache.maintenance.merge import merge_caches
from featcache.maintenance.repair import repair_cache
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache
from featcache.storage.manifest import Manifest
from featcache.storage.tables import write_table


@pytest.fixture(scope="module")
def parts(tmp_path_factory, make_small_cache):
    folder = tmp_path_factory.mktemp("parts")
    return [make_small_cache(folder / f"part{n}", part=(n, 3)) for n in (1, 2, 3)]


@pytest.fixture
def copies(parts, tmp_path):
    return [shutil.copytree(part, tmp_path / part.name) for part in parts]


def test_merged_is_what_one_machine_makes(parts, small_cache, tmp_path, contents):
    steps = []
    summary = merge_caches(
        [parts[2], parts[0], parts[1]], tmp_path / "whole", on_progress=lambda *s: steps.append(s)
    )
    assert contents(tmp_path / "whole") == contents(small_cache)
    assert (summary.parts, summary.linked, summary.copied) == (3, 4, 0)
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert verify_cache(tmp_path / "whole").ok
    assert len(Cache.open(tmp_path / "whole")) == summary.images == 8


def test_copied_across_disks(parts, small_cache, tmp_path, monkeypatch, contents):
    def across(*_):
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", across)
    summary = merge_caches(parts, tmp_path / "whole")
    assert (summary.linked, summary.copied) == (0, 4)
    assert contents(tmp_path / "whole") == contents(small_cache)


def test_measured_labels_are_in_the_order_of_one_machine(
    tmp_path, image_folder, make_small_cache, monkeypatch, contents
):
    class Measured(Table):
        measured_queries = MappingProxyType({"contrast": "contrast.", "brightness": "light."})

    monkeypatch.setattr(merge, "reader", lambda name: Measured)
    dataset = Measured(image_folder)
    parts = [make_small_cache(tmp_path / str(n), dataset=dataset, part=(n, 2)) for n in (1, 2)]
    whole = make_small_cache(tmp_path / "whole", dataset=dataset)
    merge_caches(parts, tmp_path / "merged")
    assert contents(tmp_path / "merged") == contents(whole)


def test_a_part_is_no_cache(parts):
    assert not Manifest.read(parts[0]).complete
    with pytest.raises(CacheNotFoundError, match=r"part 1/3.*featcache merge"):
        Manifest.read(parts[0]).require_complete(parts[0])
    assert verify_cache(parts[0]).ok
    with pytest.raises(CacheNotFoundError):
        Cache.open(parts[0])


def test_a_part_is_resumed_and_repaired_as_a_part(
    copies, image_folder, make_small_cache, tiny_backbone, contents
):
    before = contents(copies[0])
    make_small_cache(copies[0], part=(1, 3))
    assert contents(copies[0]) == before
    (copies[0] / "shards/00003.h5").write_bytes(b"")
    repair_cache(copies[0], image_folder, backbone=tiny_backbone)
    assert contents(copies[0]) == before
    for other in ((2, 3), (1, 2), None):
        with pytest.raises(FeatcacheError, match="holds part 1/3"):
            make_small_cache(copies[0], part=other)


def test_missing_parts_are_named(parts, tmp_path):
    with pytest.raises(FeatcacheError, match=r"parts are missing: 1/3, 3/3"):
        merge_caches([parts[1]], tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_unfinished_parts_are_refused(copies, tmp_path):
    Manifest.read(copies[1]).unfinished().write(copies[1])
    with pytest.raises(FeatcacheError, match="part 2/3 has not finished"):
        merge_caches(copies, tmp_path / "whole")


def test_whole_caches_are_refused(parts, small_cache, tmp_path):
    with pytest.raises(FeatcacheError, match="not a part of a cache"):
        merge_caches([*parts, small_cache], tmp_path / "whole")
    with pytest.raises(FeatcacheError, match="no parts"):
        merge_caches([], tmp_path / "whole")


def test_the_same_part_twice(parts, copies, tmp_path):
    merge_caches([*parts, copies[0]], tmp_path / "whole")
    manifest = Manifest.read(copies[0])
    name = next(iter(manifest.shards()))
    other = replace(manifest.files[name], xxh3_128="0" * 32)
    manifest.with_files({**manifest.files, name: other}).write(copies[0])
    with pytest.raises(FeatcacheError, match=r"00000\.h5 and .*00000\.h5 differ"):
        merge_caches([*parts, copies[0]], tmp_path / "again")


@pytest.mark.parametrize(
    ("field", "changes"),
    [("dtype", {"dtype": "float32"}), ("views", {"views": ("original",)})],
)
def test_other_features_are_refused_by_name(parts, tmp_path, make_small_cache, field, changes):
    other = make_small_cache(tmp_path / "other", part=(1, 3), **changes)
    with pytest.raises(FingerprintMismatchError, match=f"  {field}: "):
        merge_caches([other, *parts[1:]], tmp_path / "whole")


def test_other_data_sets_and_sizes_are_refused_by_name(parts, tmp_path, make_small_cache):
    other = make_small_cache(tmp_path / "other", part=(1, 3), shard_size=2)
    with pytest.raises(FeatcacheError, match="shard_size: 2 and 3"):
        merge_caches([other, *parts[1:]], tmp_path / "whole")
    other = make_small_cache(tmp_path / "fewer", part=(1, 3), limit=9)
    with pytest.raises(FeatcacheError, match="images: 9 and 10"):
        merge_caches([other, *parts[1:]], tmp_path / "whole")


def test_other_labels_are_refused(parts, copies, tmp_path, image_folder, make_small_cache):
    root = shutil.copytree(image_folder, tmp_path / "images")
    text = (root / "labels.csv").read_text().replace("number of cats.,0,", "number of cats.,9,")
    (root / "labels.csv").write_text(text)
    other = make_small_cache(tmp_path / "other", part=(1, 3), dataset=open_dataset("table", root))
    with pytest.raises(DatasetError, match="differ: the machines read different labels"):
        merge_caches([other, *parts[1:]], tmp_path / "whole")


def test_tables_may_lie_elsewhere_on_each_machine(tmp_path, image_folder, make_small_cache):
    parts = []
    for n in (1, 2):
        table = tmp_path / f"machine{n}.csv"
        shutil.copy(image_folder / "labels.csv", table)
        dataset = open_dataset("table", image_folder, table=str(table))
        parts.append(make_small_cache(tmp_path / str(n), dataset=dataset, part=(n, 2)))
    merge_caches(parts, tmp_path / "merged")
    assert len(Cache.open(tmp_path / "merged")) == 8
    assert verify_cache(tmp_path / "merged").ok


def test_parts_of_other_images_are_refused(parts, tmp_path, image_folder, make_small_cache):
    """As many images, without labels, so that only the images themselves can tell."""
    other = shutil.copytree(image_folder, tmp_path / "other")
    (other / "image_09.png").rename(other / "a_new_first.png")
    folders = [image_folder, other]
    both = [
        make_small_cache(
            tmp_path / f"folder{n}", dataset=open_dataset("folder", folders[n - 1]), part=(n, 2)
        )
        for n in (1, 2)
    ]
    with pytest.raises(DatasetError, match=r"folder1 and .*folder2 both hold the image 'image"):
        merge_caches(both, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_labels_of_images_that_no_part_holds(copies, tmp_path):
    for copy in copies:
        table = pq.read_table(copy / "labels.parquet")
        ids = ["elsewhere.png", *table["sample_id"].to_pylist()[1:]]
        table = table.set_column(0, table.schema.field(0), [ids])
        write_table(copy / "labels.parquet", table)
    with pytest.raises(DatasetError, match=r"no part holds the image 'elsewhere.png'"):
        merge_caches(copies, tmp_path / "whole")


def test_a_damaged_shard_is_refused(copies, tmp_path, monkeypatch):
    shard = copies[0] / "shards/00000.h5"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(CacheFormatError, match="featcache repair"):
        merge_caches(copies, tmp_path / "whole")
    shard.write_bytes(content[:600] + b"?" + content[601:])
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "")))
    with pytest.raises(CacheFormatError, match="featcache repair"):
        merge_caches(copies, tmp_path / "whole")
    shard.write_bytes(content)
    merge_caches(copies, tmp_path / "whole")  # a merge that failed can be run again


def test_a_copied_shard_is_refused(copies, tmp_path):
    one, two = copies[0] / "shards/00000.h5", copies[2] / "shards/00002.h5"
    shutil.copy(one, two)  # 2 rows each
    with pytest.raises(CacheFormatError, match=r"00002\.h5: it is shard 0: swapped or copied"):
        merge_caches(copies, tmp_path / "whole")


def test_a_full_disk_is_a_sentence(parts, tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(DiskSpaceError, match=r"00000\.h5 could not be written: No space left"):
        merge_caches(parts, tmp_path / "whole")


def test_a_cache_is_not_overwritten(parts, cache_copy, contents):
    before = contents(cache_copy)
    with pytest.raises(FeatcacheError, match="already holds a cache"):
        merge_caches(parts, cache_copy)
    assert contents(cache_copy) == before

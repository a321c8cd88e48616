"""Every flipped bit, truncation, swap, loss and addition is found and named."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcache.errors import CacheFormatError, CacheLockedError, CacheNotFoundError
from featcache.maintenance.verify import check_files, expected_files, verify_cache
from featcache.storage.history import read_history
from featcache.storage.lock import writing
from featcache.storage.manifest import Manifest
from featcache.storage.shard import open_shard

FILES = (
    "cache.json", "samples.parquet", "labels.parquet", "prompts.h5", "history.jsonl",
    "shards/00000.h5", "shards/00001.h5", "shards/00002.h5", "shards/00003.h5",
)  # fmt: skip


def flip(file: Path, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def damaged(cache: Path, **options) -> set[str]:
    return {damage.file for damage in verify_cache(cache, **options).damages}


def open_first(cache: Path):
    manifest = Manifest.read(cache)
    return open_shard(
        cache / "shards/00000.h5", shapes=manifest.shapes, num_views=2, dtype="float16"
    )


def test_intact(small_cache):
    seen = []
    report = verify_cache(small_cache, on_progress=seen.append)
    assert report.ok
    assert report.finished
    assert report.lines() == []
    files = {file.relative_to(small_cache).as_posix() for file in small_cache.rglob("*.*")}
    assert files - {".lock"} == set(FILES)
    assert report.files == len(FILES) - 2  # cache.json and the history describe themselves
    assert seen[-1].done == seen[-1].total == report.bytes
    assert verify_cache(small_cache, quick=True).ok


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), where=st.floats(0, 1, exclude_max=True))
def test_any_flipped_bit_is_found(cache_copy, name, where):
    file = cache_copy / name
    content = file.read_bytes()
    flip(file, int(where * len(content) * 8))
    try:
        assert damaged(cache_copy) == {name}
    finally:
        file.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("cache.json", "history.jsonl", "labels.parquet", "samples.parquet", "prompts.h5"),
        "shards/00003.h5",
    ],
)
def test_every_flipped_bit_of_every_kind_of_file_is_found(cache_copy, name):
    """Through the part of the verification that looks at this file: ten thousands of bits."""
    manifest = Manifest.read(cache_copy)
    entry = {name: expected_files(cache_copy, manifest).get(name)}

    def found() -> bool:
        if name == "cache.json":
            try:
                Manifest.read(cache_copy)
            except CacheFormatError:
                return True
            return False
        if name == "history.jsonl":
            return bool(read_history(cache_copy)[1])
        return [damage.file for damage in check_files(cache_copy, manifest, entry)] == [name]

    content = (cache_copy / name).read_bytes()
    with (cache_copy / name).open("r+b", buffering=0) as file:
        for bit in range(len(content) * 8):
            file.seek(bit // 8)
            file.write(bytes([content[bit // 8] ^ 1 << bit % 8]))
            assert found(), bit
            file.seek(bit // 8)
            file.write(content[bit // 8 : bit // 8 + 1])
    assert not found()


@pytest.mark.parametrize("name", ["tokens", "pooled", "digests", "sample_id"])
def test_damaged_rows_are_named(cache_copy, name):
    region = open_first(cache_copy).regions[name]
    row_bytes = region.num_bytes // region.shape[0]
    flip(cache_copy / "shards/00000.h5", (region.offset + row_bytes + 1) * 8)
    (damage,) = verify_cache(cache_copy).damages
    assert damage.file == "shards/00000.h5"
    assert damage.rows == (1,)
    assert "rows 1" in str(damage)


def test_damaged_records_and_structure_are_told_apart(cache_copy):
    file = cache_copy / "shards/00000.h5"
    region = open_first(cache_copy).regions["records"]
    content = file.read_bytes()
    flip(file, (region.offset + 5) * 8)
    (damage,) = verify_cache(cache_copy).damages
    assert "records" in damage.what
    file.write_bytes(content)
    flip(file, (region.offset + region.num_bytes) * 8 + 700)  # behind the last array
    (damage,) = verify_cache(cache_copy).damages
    assert not damage.rows


def test_a_damaged_prompt_is_named(cache_copy):
    file = cache_copy / "prompts.h5"
    from featcache.storage.prompts import open_prompts

    manifest = Manifest.read(cache_copy)
    index = open_prompts(cache_copy, shapes=manifest.shapes, fingerprint=manifest.fingerprint)
    region = index.regions["tokens"]
    flip(file, (region.offset + region.num_bytes - 1) * 8)
    (damage,) = verify_cache(cache_copy).damages
    assert (damage.file, damage.rows) == ("prompts.h5", (1,))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 0.5, -1])
def test_truncation_is_found(cache_copy, name, keep):
    file = cache_copy / name
    content = file.read_bytes()
    if name == "history.jsonl" and keep == 0:
        return  # an empty history says that nothing was recorded; nothing depends on it
    file.write_bytes(content[: -1 if keep == -1 else int(len(content) * keep)])
    assert damaged(cache_copy) == {name}
    if name != "history.jsonl":
        assert damaged(cache_copy, quick=True) == {name}


@pytest.mark.parametrize("name", [name for name in FILES if name != "history.jsonl"])
def test_a_missing_file_is_found(cache_copy, name):
    (cache_copy / name).unlink()
    if name == "cache.json":
        with pytest.raises(CacheNotFoundError, match=r"cache\.json is missing"):
            verify_cache(cache_copy)
    else:
        assert damaged(cache_copy) == damaged(cache_copy, quick=True) == {name}


@pytest.mark.parametrize("quick", [False, True])
def test_swapped_shards_are_found(cache_copy, quick):
    one, two = cache_copy / "shards/00000.h5", cache_copy / "shards/00001.h5"
    content = one.read_bytes()
    shutil.copy(two, one)
    two.write_bytes(content)
    report = verify_cache(cache_copy, quick=quick)
    assert {d.file for d in report.damages} == {"shards/00000.h5", "shards/00001.h5"}
    assert all("swapped" in d.what for d in report.damages)


def test_a_shard_of_other_features_is_found(cache_copy, make_small_cache, tmp_path):
    from featcache.backbone import BackboneSpec, load_backbone

    spec = Manifest.read(cache_copy).backbone
    other = load_backbone(BackboneSpec.from_dict({**spec, "pretrained": "seed:1"}))
    foreign = make_small_cache(tmp_path / "other", backbone=other)
    shutil.copy(foreign / "shards/00002.h5", cache_copy / "shards/00002.h5")
    (damage,) = verify_cache(cache_copy, quick=True).damages
    assert "belongs to another cache" in damage.what


def test_unknown_files_are_reported(cache_copy):
    (cache_copy / "notes.txt").write_text("mine")
    (cache_copy / "shards/00009.h5.77.tmp").write_text("half")
    report = verify_cache(cache_copy)
    assert report.ok
    assert report.extra[0] == "notes.txt"
    assert "killed writer" in report.extra[1]


def test_quick_leaves_features_unread(cache_copy):
    shard = open_first(cache_copy)
    flip(cache_copy / "shards/00000.h5", shard.regions["tokens"].offset * 8)
    assert verify_cache(cache_copy, quick=True).ok
    assert not verify_cache(cache_copy).ok


def test_a_lost_manifest_does_not_hide_damaged_shards(cache_copy):
    shard = open_first(cache_copy)
    (cache_copy / "cache.json").write_text("{}")
    flip(cache_copy / "shards/00000.h5", shard.regions["tokens"].offset * 8)
    assert damaged(cache_copy) == {"cache.json", "shards/00000.h5"}
    shutil.rmtree(cache_copy / "shards")
    (cache_copy / "shards").mkdir()
    with pytest.raises(CacheFormatError, match="extract again"):
        verify_cache(cache_copy)


def test_an_unfinished_cache_is_checked_by_its_rows(cache_copy):
    Manifest.read(cache_copy).unfinished().write(cache_copy)
    assert verify_cache(cache_copy).ok
    assert not verify_cache(cache_copy).finished
    flip(cache_copy / "shards/00000.h5", open_first(cache_copy).regions["tokens"].offset * 8)
    assert damaged(cache_copy) == {"shards/00000.h5"}


def test_a_writer_is_not_verified(cache_copy):
    with writing(cache_copy), pytest.raises(CacheLockedError, match="writing"):
        verify_cache(cache_copy)


def test_images_that_changed_went_or_came(cache_copy, image_folder, tmp_path):
    root = tmp_path / "images"
    shutil.copytree(image_folder, root)
    assert verify_cache(cache_copy, root=root).ok
    first, second = root / "image_00.png", root / "image_01.png"
    flip(first, 8 * first.stat().st_size - 40)  # the same size
    with second.open("ab") as stream:
        stream.write(b"more")
    (root / "image_03.png").unlink()
    with (root / "labels.csv").open("a") as stream:
        stream.write("new.png,beauty.,1,quality,train,0\n")
    report = verify_cache(cache_copy, root=root)
    assert not report.ok
    assert not report.damages
    assert report.changed == ("image_00.png", "image_01.png")
    assert report.missing == ("image_03.png",)
    assert report.new == ("new.png",)
    assert verify_cache(cache_copy, quick=True, root=root).changed == ("image_01.png",)
    assert "image missing: image_03.png" in report.lines()


def test_a_manifest_cannot_name_other_files(cache_copy):
    manifest = Manifest.read(cache_copy)
    files = {**manifest.files, "../secret": manifest.files["labels.parquet"]}
    manifest.with_files(files).write(cache_copy)
    with pytest.raises(CacheFormatError, match="not a file of a cache"):
        Manifest.read(cache_copy)

"""Files of a cache, one by one: which have to be there, and what is wrong with them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from featcache.maintenance.integrity import (
    ByteCounter,
    Damage,
    bytes_to_read,
    check_files,
    expected_files,
)
from featcache.storage.entries import Part
from featcache.storage.layout import LABELS, PROMPTS, SAMPLES, shard_name
from featcache.storage.manifest import Manifest

SHARDS = [shard_name(n) for n in range(4)]


def test_what_a_finished_cache_has_to_hold(small_cache):
    manifest = Manifest.read(small_cache)
    expected = expected_files(small_cache, manifest)
    assert expected == dict(manifest.files)
    assert set(expected) == {SAMPLES, LABELS, PROMPTS, *SHARDS}


def test_what_cache_json_forgot_is_expected_all_the_same(small_cache):
    manifest = Manifest.read(small_cache)
    files = {n: e for n, e in manifest.files.items() if n not in (SAMPLES, SHARDS[1])}
    expected = expected_files(small_cache, manifest.with_files(files))
    assert set(expected) == {SAMPLES, LABELS, PROMPTS, *SHARDS}
    assert expected[SAMPLES] is expected[SHARDS[1]] is None


def test_a_part_has_every_n_th_shard(small_cache):
    manifest = replace(Manifest.read(small_cache), part=Part(index=2, count=2, images=10))
    manifest = manifest.with_files({name: manifest.files[name] for name in (LABELS, SHARDS[3])})
    assert set(expected_files(small_cache, manifest)) == {SAMPLES, LABELS, SHARDS[1], SHARDS[3]}


def test_of_an_unfinished_cache_the_shards_that_are_there(cache_copy):
    manifest = Manifest.read(cache_copy).unfinished()
    (cache_copy / SHARDS[2]).unlink()
    (cache_copy / "shards/notes.h5").touch()
    expected = expected_files(cache_copy, manifest)
    assert expected == dict.fromkeys([SHARDS[0], SHARDS[1], SHARDS[3]])
    assert check_files(cache_copy, manifest, expected) == []


@pytest.mark.parametrize("quick", [False, True])
def test_bytes_are_counted_as_announced(small_cache, quick):
    manifest = Manifest.read(small_cache)
    told = []
    found = check_files(small_cache, manifest, manifest.files, quick=quick, on_bytes=told.append)
    assert found == []
    assert sum(told) == bytes_to_read(manifest.files, quick=quick)
    assert bytes_to_read(manifest.files) == sum(
        (small_cache / name).stat().st_size for name in manifest.files
    )


def test_a_file_without_an_entry_is_damage(small_cache):
    manifest = Manifest.read(small_cache)
    (damage,) = check_files(small_cache, manifest, {SHARDS[0]: None})
    assert damage == Damage(file=SHARDS[0], what="cache.json does not describe it")


def test_damage_in_one_line():
    assert str(Damage(file="a", what="digest", rows=(1, 3))) == "a: digest (rows 1, 3)"
    assert str(Damage(file="a", what="missing")) == "a: missing"


def test_threads_count_together_and_tell_one_at_a_time():
    told = []
    counter = ByteCounter(8000, lambda done, total: told.append((done, total)))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [counter.add(1) for _ in range(1000)], range(8)))
    assert told == [(n, 8000) for n in range(1, 8001)]

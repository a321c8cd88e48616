"""Copying caches: what arrives is what was there, or nothing that could be taken for it."""

import shutil
from dataclasses import replace

import fsspec
import pytest

from featcache.errors import (
    CacheNotFoundError,
    ConfigError,
    TransferError,
)
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache
from featcache.storage.layout import is_address
from featcache.storage.manifest import Manifest
from featcache.transfer import store as storing
from featcache.transfer.check import verify_remote
from featcache.transfer.copy import CLAIM, copy_cache
from featcache.transfer.store import Store, insist

PLACE = "memory://caches/small"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(storing, "PAUSE", 0.0)


@pytest.fixture
def memory():
    """The file system in memory, empty."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def test_there_and_back(small_cache, tmp_path, memory, contents):
    told = []
    summary = copy_cache(small_cache, PLACE, on_bytes=lambda *n: told.append(n))
    assert (summary.files, summary.there, summary.complete) == (7, 0, True)
    assert told[-1] == (2 * summary.bytes, 2 * summary.bytes)
    assert verify_remote(PLACE).ok
    assert verify_remote(PLACE, quick=True).bytes == 0
    copy_cache(PLACE, tmp_path / "back")
    names = [{p.name for p in c.rglob("*")} - {".lock"} for c in (small_cache, tmp_path / "back")]
    assert names[0] == names[1]
    assert contents(tmp_path / "back") == contents(small_cache)
    assert verify_cache(tmp_path / "back").ok
    assert Cache.open(tmp_path / "back").identity == Cache.open(small_cache).identity


def test_what_is_there_and_intact_is_kept(small_cache, memory):
    copy_cache(small_cache, PLACE)
    assert copy_cache(small_cache, PLACE).there == 7
    memory.rm_file("/caches/small/shards/00001.h5")
    damaged = "/caches/small/shards/00002.h5"
    content = bytearray(memory.cat_file(damaged))
    content[-1] ^= 1
    memory.pipe_file(damaged, bytes(content))
    report = verify_remote(PLACE)
    assert [damage.file for damage in report.damages] == ["shards/00001.h5", "shards/00002.h5"]
    summary = copy_cache(small_cache, PLACE)
    assert (summary.files, summary.there) == (2, 5)
    assert verify_remote(PLACE).ok


def test_a_half_copy_is_no_cache_and_goes_on(small_cache, tmp_path, memory, monkeypatch):
    real = Store.write

    def breaking(self, name, pieces):
        if name == "labels.parquet":
            raise OSError("connection reset by peer")
        real(self, name, pieces)

    monkeypatch.setattr(Store, "write", breaking)
    with pytest.raises(TransferError, match=r"labels.parquet could not be copied: conn"):
        copy_cache(small_cache, PLACE)
    assert not memory.exists("/caches/small/cache.json")
    with pytest.raises(CacheNotFoundError, match="no cache here"):
        copy_cache(PLACE, tmp_path / "back")
    monkeypatch.undo()
    assert copy_cache(small_cache, PLACE).there > 0
    assert not memory.exists(f"/caches/small/{CLAIM}")


def test_shards_in_parts_then_the_rest(small_cache, memory):
    first = copy_cache(small_cache, PLACE, shards=range(2))
    assert (first.files, first.complete) == (2, False)
    assert not memory.exists("/caches/small/cache.json")
    assert copy_cache(small_cache, PLACE).there == 2
    with pytest.raises(ConfigError, match="no shard has a number from 7 to 8; the last is 3"):
        copy_cache(small_cache, PLACE, shards=range(7, 9))


def test_damage_of_the_source_is_not_copied(cache_copy, tmp_path, memory):
    shard = cache_copy / "shards/00001.h5"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    for target in (PLACE, tmp_path / "back"):
        with pytest.raises(TransferError, match=r"shards/00001.h5 is not what its cache.json says"):
            copy_cache(cache_copy, target)
    assert not memory.exists("/caches/small/shards/00001.h5")
    assert not (tmp_path / "back/shards/00001.h5").exists()
    assert not (tmp_path / "back/cache.json").exists()


@pytest.mark.parametrize("times", [1, 99])
def test_a_byte_that_flips_in_the_store_is_noticed(small_cache, memory, monkeypatch, times):
    real, flips = Store.write, []

    def flipping(self, name, pieces):
        real(self, name, pieces)
        if name == "shards/00000.h5" and len(flips) < times:
            flips.append(name)
            content = bytearray(self.files.cat_file(self.path(name)))
            content[100] ^= 4
            self.files.pipe_file(self.path(name), bytes(content))

    monkeypatch.setattr(Store, "write", flipping)
    if times == 1:
        copy_cache(small_cache, PLACE)
        assert verify_remote(PLACE).ok
    else:
        with pytest.raises(TransferError, match=r"00000.h5 could not be copied: it came back as"):
            copy_cache(small_cache, PLACE)
        assert not memory.exists("/caches/small/cache.json")
        assert not memory.exists("/caches/small/shards/00000.h5")


@pytest.mark.parametrize("times", [2, 99])
def test_errors_of_the_store_are_no_errors_of_the_disk(
    small_cache, memory, tmp_path, monkeypatch, contents, times
):
    copy_cache(small_cache, PLACE)
    opened, real = [], memory.open

    def failing(path, *given, **more):
        if "00002.h5" in path and len(opened) < times:
            opened.append(path)
            raise OSError(16, "Service Unavailable")
        return real(path, *given, **more)

    monkeypatch.setattr(memory, "open", failing)
    if times == 2:
        copy_cache(PLACE, tmp_path / "back")
        assert contents(tmp_path / "back") == contents(small_cache)
        return
    with pytest.raises(TransferError, match=r"00002.h5 could not be copied: .*Service Unavailable"):
        copy_cache(PLACE, tmp_path / "back")
    assert not (tmp_path / "back/cache.json").exists()


def test_another_cache_is_never_overwritten(small_cache, cache_copy, memory, tmp_path):
    copy_cache(small_cache, PLACE)
    Manifest.read(cache_copy).unfinished().write(cache_copy)
    with pytest.raises(CacheNotFoundError, match="has not finished"):
        copy_cache(cache_copy, PLACE)
    shutil.copy(small_cache / "cache.json", cache_copy)
    replace(Manifest.read(cache_copy), name="another").write(cache_copy)
    for target in (PLACE, cache_copy.parent / "there"):
        copy_cache(small_cache, target)
        with pytest.raises(ConfigError, match="holds another cache, or another state"):
            copy_cache(cache_copy, target)
    memory.rm_file("/caches/small/cache.json")
    memory.pipe_file(f"/caches/small/{CLAIM}", b'{"manifest": "of another"}')
    with pytest.raises(ConfigError, match="another cache is being copied there"):
        copy_cache(small_cache, PLACE)


def test_a_second_writer_in_the_middle_is_noticed(small_cache, memory, monkeypatch):
    real = Store.write

    def other(self, name, pieces):
        real(self, name, pieces)
        if name == "prompts.h5":
            memory.pipe_file(f"/caches/small/{CLAIM}", b'{"manifest": "of another"}')

    monkeypatch.setattr(Store, "write", other)
    with pytest.raises(ConfigError, match="another process has begun to copy another cache"):
        copy_cache(small_cache, PLACE)
    assert not memory.exists("/caches/small/cache.json")


def test_the_same_place_and_unknown_kinds(small_cache):
    with pytest.raises(ConfigError, match="are the same place"):
        copy_cache(small_cache, small_cache)
    with pytest.raises(ConfigError, match="addresses of nowhere:// need more packages"):
        copy_cache(small_cache, "nowhere://x/y")


def test_addresses_are_told_from_folders():
    assert is_address("s3://bucket/cache")
    assert is_address("s3:/bucket/cache")  # as a path writes it
    assert not is_address("cache/ava")
    assert not is_address("C:/caches/ava")
    assert not is_address("file:///caches/ava")


def test_readers_of_an_address_are_told_to_copy_first():
    with pytest.raises(CacheNotFoundError, match=r"featcache copy s3://bucket/ava cache/ava"):
        Cache.open("s3://bucket/ava")


def test_tries_have_longer_and_longer_pauses(monkeypatch):
    monkeypatch.setattr(storing, "PAUSE", 1.0)
    waits = []

    def fail():
        raise ConnectionError("503 Slow Down")

    with pytest.raises(TransferError, match=r"it: 503 Slow Down, 5 times in a row"):
        insist("it", fail, waits.append)
    assert len(waits) == 4
    assert waits == sorted(waits)

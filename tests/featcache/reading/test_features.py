"""Which shards are read, when, and what is refused on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from featcache import Cache
from featcache.errors import CacheFormatError
from featcache.reading.mapping import RowSpace
from featcache.storage.manifest import Manifest
from featcache.storage.shard import row_digest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def change_byte(path: Path, at: int, by: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= by
    path.write_bytes(content)


def offset(path: Path, name: str) -> int:
    with h5py.File(path) as file:
        return int(file[name].id.get_offset())


@pytest.mark.parametrize(
    ("rows", "view", "message"),
    [
        ([8], "original", "row 8 is not in"),
        ([0, -1], "original", "row -1 is not in"),
        ([0.5], "original", "rows must be integers"),
        ([True], "original", "rows must be integers"),
        ([[0]], "original", "rows must be integers"),
        ([np.uint64(2**64 - 1)], "original", "row -?[0-9]+ is not in"),
        ([1000], "original", "row 1000 is not in"),
        ([-1000], "original", "row -1000 is not in"),
        ([0], "vflip", "has no view 'vflip'"),
        ([0], 2, "found index 2"),
        ([0], -1, "found index -1"),
        ([0, 1], [0, 9], "found index 9"),
        ([0], 0.5, "view must be"),
    ],
)
@pytest.mark.parametrize("warm", [False, True])
def test_impossible_rows_and_views(
    small_cache: Path, rows: Any, view: Any, message: str, warm: bool
) -> None:
    cache = Cache.open(small_cache)
    if warm:
        for name in cache.views:
            cache.tokens(range(len(cache)), view=name)
    with pytest.raises(IndexError, match=message):
        cache.tokens(rows, view=view)


def test_pages_are_asked_for_once(small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(space: RowSpace, slots: NDArray[np.int64]) -> None:
        asked.append(len(slots))
        will_need(space, slots)

    will_need = RowSpace.will_need
    monkeypatch.setattr(RowSpace, "will_need", counted)
    cache = Cache.open(small_cache)
    cache.tokens([1, 5])
    cache.tokens([5, 1, 2])
    cache.tokens([5], view="hflip")
    cache.pooled([7])
    assert asked == [2, 1, 1]


def test_what_is_mapped_cannot_be_written(small_cache: Path) -> None:
    cache = Cache.open(small_cache)
    cache.tokens([0])
    space = cache._features.spaces["tokens"]
    with pytest.raises(ValueError, match="read-only"):
        space.array[int(space.starts[0])] = 0


def test_swapped_shards_are_refused(cache_copy: Path) -> None:
    (cache_copy / "shards/00000.h5").rename(cache_copy / "x")
    (cache_copy / "shards/00001.h5").rename(cache_copy / "shards/00000.h5")
    (cache_copy / "x").rename(cache_copy / "shards/00001.h5")
    with pytest.raises(CacheFormatError, match=r"00000\.h5: it is shard 1: swapped or copied"):
        Cache.open(cache_copy).tokens([0])


def test_a_missing_shard_is_named(cache_copy: Path) -> None:
    (cache_copy / "shards/00002.h5").unlink()
    cache = Cache.open(cache_copy)
    cache.tokens([0])
    with pytest.raises(CacheFormatError, match=r"00002.h5: missing; run `featcache repair`"):
        cache.tokens([5])


def test_shards_that_do_not_count_from_zero(cache_copy: Path) -> None:
    manifest = Manifest.read(cache_copy)
    files = dict(manifest.files)
    del files["shards/00001.h5"]
    manifest.with_files(files).write(cache_copy)
    with pytest.raises(CacheFormatError, match="does not list shards 0"):
        Cache.open(cache_copy)


@pytest.mark.parametrize("name", ["tokens", "pooled", "sample_id", "digests"])
def test_verify_rows_finds_a_flipped_bit_at_first_touch(cache_copy: Path, name: str) -> None:
    shard = cache_copy / "shards/00001.h5"
    with h5py.File(shard) as file:
        row = file[name].nbytes // file[name].shape[0]
    change_byte(shard, offset(shard, name) + row)  # row 1 of shard 1, row 3 of the cache
    trusting, careful = Cache.open(cache_copy), Cache.open(cache_copy, verify_rows=True)
    trusting.tokens([3])
    careful.tokens([0, 2, 4])
    for read in (careful.tokens, careful.pooled):
        with pytest.raises(CacheFormatError, match=r"00001.h5: row 1 is damaged"):
            read([2, 3])


def test_rows_are_verified_once(small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*arrays: NDArray[Any]) -> bytes:
        calls.append(1)
        return row_digest(*arrays)

    monkeypatch.setattr("featcache.reading.features.row_digest", counted)
    cache = Cache.open(small_cache, verify_rows=True)
    for _ in range(3):
        cache.tokens([1, 5, 1])
    assert len(calls) == 2
    cache.tokens([0, 1])
    assert cache._features.verified.tolist() == [
        True,
        True,
        False,
        False,
        False,
        True,
        False,
        False,
    ]

"""`Cache` against what h5py and pyarrow read from the same files."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcache import Cache
from featcache.errors import CacheFormatError, CacheNotFoundError, PromptNotFoundError
from featcache.manifest import Manifest
from featcache.mapping import RowSpace
from featcache.shard import row_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def stored(path: Path, name: str) -> NDArray[Any]:
    """All rows of a data set, read by h5py."""
    parts = []
    for shard in sorted((path / "shards").glob("*.h5")):
        with h5py.File(shard) as file:
            parts.append(file[name][()])
    return np.concatenate(parts)


def change_byte(path: Path, at: int, by: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= by
    path.write_bytes(content)


def offset(path: Path, name: str) -> int:
    with h5py.File(path) as file:
        return int(file[name].id.get_offset())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_tokens_equal_what_h5py_reads(small_cache: Path, data: st.DataObject) -> None:
    cache = Cache.open(small_cache)
    row = st.integers(0, len(cache) - 1)
    rows = np.array(data.draw(st.lists(row, max_size=20)), np.int64)
    views = np.array(
        data.draw(st.lists(st.integers(0, 1), min_size=len(rows), max_size=len(rows))), np.int64
    )
    expected = stored(small_cache, "tokens")
    found = cache.tokens(rows, view=views)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, expected[rows, views])
    np.testing.assert_array_equal(cache.tokens(rows, view="hflip"), expected[rows, 1])
    np.testing.assert_array_equal(
        cache.pooled(rows, view=views), stored(small_cache, "pooled")[rows, views]
    )


def test_rows_are_the_readable_images_in_order(small_cache: Path) -> None:
    cache = Cache.open(small_cache)
    ids = [sample.decode() for sample in stored(small_cache, "sample_id")]
    assert len(cache) == len(ids) == 8
    assert cache.rows([*reversed(ids), "nobody"]).tolist() == [*reversed(range(8)), -1]
    assert cache.rows(cache.samples["sample_id"]).tolist() == [0, 1, -1, 2, 3, 4, 5, -1, 6, 7]
    assert cache.samples.num_rows == 10
    assert cache.views == ("original", "hflip")
    assert cache.dataset == "table"


def test_out_is_filled_and_checked(small_cache: Path) -> None:
    cache = Cache.open(small_cache)
    room = np.zeros((2, 2, 4, 6), np.float16)
    out = room[:, 1]  # not contiguous
    assert cache.tokens([5, 1], out=out) is out
    np.testing.assert_array_equal(out, cache.tokens([5, 1]))
    assert not room[:, 0].any()
    with pytest.raises(ValueError, match=r"out is float32 \[2, 4, 6\], expected float16"):
        cache.tokens([5, 1], out=np.empty((2, 4, 6), np.float32))
    with pytest.raises(ValueError, match="expected float16"):
        cache.tokens([5], out=out)


def test_what_is_mapped_cannot_be_written(small_cache: Path) -> None:
    cache = Cache.open(small_cache)
    cache.tokens([0])
    space = cache._features.spaces["tokens"]
    with pytest.raises(ValueError, match="read-only"):
        space.array[int(space.starts[0])] = 0


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


def test_no_rows(small_cache: Path) -> None:
    cache = Cache.open(small_cache)
    assert cache.tokens([]).shape == (0, 4, 6)
    assert cache.pooled([]).shape == (0, 6)


def test_prompts(small_cache: Path) -> None:
    cache = Cache.open(small_cache)
    assert cache.prompts == ["beauty.", "number of cats."]
    prompt = cache.prompt("beauty.")
    with h5py.File(small_cache / "prompts.h5") as file:
        np.testing.assert_array_equal(prompt.tokens, file["tokens"][0])
        np.testing.assert_array_equal(prompt.pooled, file["pooled"][0])
    with pytest.raises(PromptNotFoundError, match=r"featcache prompts .* --add"):
        cache.prompt("dogs")


def test_a_table_of_another_cache_is_refused(
    cache_copy: Path, make_small_cache: Callable[..., Path], tmp_path: Path
) -> None:
    other = make_small_cache(tmp_path / "other", shard_size=4)
    (other / "samples.parquet").replace(cache_copy / "samples.parquet")
    with pytest.raises(CacheFormatError, match=r"samples.parquet: its digest is .* cache.json"):
        Cache.open(cache_copy).rows(["image_00.png"])


def test_swapped_shards_are_refused(cache_copy: Path) -> None:
    (cache_copy / "shards/00000.h5").rename(cache_copy / "x")
    (cache_copy / "shards/00001.h5").rename(cache_copy / "shards/00000.h5")
    (cache_copy / "x").rename(cache_copy / "shards/00001.h5")
    with pytest.raises(CacheFormatError, match=r"this is shard 1 .* expected shards/00000.h5"):
        Cache.open(cache_copy).tokens([0])


def test_a_missing_shard_is_named(cache_copy: Path) -> None:
    (cache_copy / "shards/00002.h5").unlink()
    cache = Cache.open(cache_copy)
    cache.tokens([0])
    with pytest.raises(CacheFormatError, match=r"00002.h5: missing; run `featcache repair`"):
        cache.tokens([5])


def test_no_cache_and_unfinished_cache(tmp_path: Path, cache_copy: Path) -> None:
    with pytest.raises(CacheNotFoundError, match="no cache here"):
        Cache.open(tmp_path)
    Manifest.read(cache_copy).unfinished().write(cache_copy)
    with pytest.raises(CacheNotFoundError, match="has not finished"):
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

    monkeypatch.setattr("featcache.features.row_digest", counted)
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


def test_shards_that_do_not_count_from_zero(cache_copy: Path) -> None:
    manifest = Manifest.read(cache_copy)
    files = dict(manifest.files)
    del files["shards/00001.h5"]
    manifest.with_files(files).write(cache_copy)
    with pytest.raises(CacheFormatError, match="does not list shards 0"):
        Cache.open(cache_copy)


def test_import_does_not_load_torch() -> None:
    code = "import sys, featcache, featcache.cache; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

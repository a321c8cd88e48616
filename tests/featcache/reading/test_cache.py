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
from featcache.storage.manifest import Manifest
from featcache.storage.tables import write_table

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


def test_no_cache_and_unfinished_cache(tmp_path: Path, cache_copy: Path) -> None:
    with pytest.raises(CacheNotFoundError, match="no cache here"):
        Cache.open(tmp_path)
    Manifest.read(cache_copy).unfinished().write(cache_copy)
    with pytest.raises(CacheNotFoundError, match="has not finished"):
        Cache.open(cache_copy)


def test_import_does_not_load_torch() -> None:
    code = "import sys, featcache, featcache.reading.cache; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_state_changes_with_what_is_read(
    cache_copy: Path, small_cache: Path, make_small_cache: Callable[..., Path], tmp_path: Path
) -> None:
    from featcache.maintenance.relabel import add_texts

    before = Cache.open(small_cache).state
    other = make_small_cache(tmp_path / "other", shard_size=5)  # the same, from other shards
    assert Cache.open(other).state == before
    fewer = make_small_cache(tmp_path / "fewer", limit=9)
    assert Cache.open(fewer).state != before
    labels = Cache.open(cache_copy).labels
    write_table(cache_copy / "labels.parquet", labels.slice(1))
    add_texts(cache_copy, [], lambda _: pytest.fail("no prompt is new"))  # new digests
    assert Cache.open(cache_copy).state != before

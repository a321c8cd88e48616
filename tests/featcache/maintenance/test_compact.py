"""Compacting: the disk is given back, and readers see what they saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from featcache.datasets import open_dataset
from featcache.errors import CacheFormatError, CacheNotFoundError
from featcache.maintenance.compact import compact_cache
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache
from featcache.storage.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_readers_see_the_same(
    grown_copy: tuple[Path, Path], contents: Callable[[Path], dict[str, bytes]]
) -> None:
    folder, _ = grown_copy
    before = Cache.open(folder)
    rows = np.arange(len(before))
    tokens, pooled = before.tokens(rows, "hflip"), before.pooled(rows)
    state, samples = before.state, before.samples  # a reader reads tables when asked
    summary = compact_cache(folder)
    assert (summary.rows, summary.shards) == (3, 3)
    assert summary.freed > 0
    after = Cache.open(folder, verify_rows=True)
    assert (after.state, after.identity) == (state, before.identity)
    assert after.samples.drop_columns(["row"]).equals(samples.drop_columns(["row"]))
    np.testing.assert_array_equal(after.tokens(rows, "hflip"), tokens)
    np.testing.assert_array_equal(after.pooled(rows), pooled)
    assert not after.manifest.grown
    assert verify_cache(folder).lines() == []
    files = contents(folder)
    assert compact_cache(folder).rows == 0
    assert contents(folder) == files


def test_a_cache_that_never_shrank(
    cache_copy: Path, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    before = contents(cache_copy)
    assert compact_cache(cache_copy).shards == 0
    assert contents(cache_copy) == before


def test_it_follows_on(
    grown_copy: tuple[Path, Path], make_small_cache: Callable[..., Path], grown: tuple[Path, Path]
) -> None:
    folder, photos = grown_copy
    compact_cache(folder)
    (photos / "a_1.png").unlink()
    (photos / "c.png").rename(photos / "d.png")
    make_small_cache(folder, dataset=open_dataset("folder", photos))
    cache = Cache.open(folder)
    assert len(cache) == len(Cache.open(grown[0])) - 1
    assert "d.png" in cache.sample_ids.to_pylist()
    assert compact_cache(folder).rows == 1
    assert verify_cache(folder).lines() == []


def test_damaged_rows_get_no_new_digests(grown_copy: tuple[Path, Path]) -> None:
    folder, _ = grown_copy
    file = folder / "shards/00000.h5"
    content = bytearray(file.read_bytes())
    content[content.index(b"image_00.png") + 1] ^= 1  # in the ids of its rows
    file.write_bytes(content)
    with pytest.raises(CacheFormatError, match=r"00000\.h5: damaged rows \[0\]"):
        compact_cache(folder)


def test_unfinished_caches_are_refused(cache_copy: Path, tmp_path: Path) -> None:
    Manifest.read(cache_copy).unfinished().write(cache_copy)
    with pytest.raises(CacheNotFoundError, match="has not finished"):
        compact_cache(cache_copy)
    with pytest.raises(CacheNotFoundError, match="no cache here"):
        compact_cache(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()

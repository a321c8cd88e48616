"""Rows of many files as one array: every size of row, every offset, nothing lies over another."""

from __future__ import annotations

import errno
import mmap
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.errors import MappingError
from featcache.reading import mapping
from featcache.reading.mapping import CACHE_LINE, RowSpace, aligned_empty
from featcache.storage.hdf5 import Region

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PAGE = mmap.PAGESIZE


def write(path: Path, rows: NDArray[Any], offset: int) -> Region:
    """Put rows at an offset of a file, with other bytes before and behind them."""
    path.write_bytes(b"\x77" * offset + rows.tobytes() + b"\x66" * 100)
    return Region(offset=offset, shape=rows.shape, dtype=rows.dtype)


@settings(max_examples=60)
@given(data=st.data())
def test_every_file_shows_its_own_rows(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any row size, any alignment, any order of placing: what is read is what was written."""
    folder = tmp_path_factory.mktemp("files")
    numbers = st.integers(1, 3000) | st.sampled_from([1, 16, 2048, 4096, 8192, 65536, 153_600])
    row = data.draw(numbers, "bytes per row")
    counts = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4), "rows per file")
    offsets = st.integers(0, 3 * PAGE) | st.sampled_from([0, PAGE, 2 * PAGE])
    generator = np.random.default_rng(row)
    contents = [generator.integers(0, 256, (n, row), np.uint8) for n in counts]
    space = RowSpace(counts, (row,), np.uint8)
    for number in data.draw(st.permutations(range(len(counts))), "order"):
        path = folder / f"{number}"
        region = write(path, contents[number], data.draw(offsets, f"offset of file {number}"))
        space.place(number, path, region)
        path.unlink()
    for number, rows in enumerate(contents):
        slots = space.starts[number] + np.arange(len(rows))
        np.testing.assert_array_equal(space.take(slots), rows)


@pytest.mark.parametrize("row", [153_600, 3072, 400, 37_917])
def test_aligned_files_are_mapped_not_read(tmp_path: Path, row: int) -> None:
    """Our shards start large arrays at pages, so nothing is copied when one is opened."""
    content = np.zeros((3, row), np.uint8)
    region = write(tmp_path / "file", content, PAGE)
    space = RowSpace([3], (row,), np.uint8)
    space.place(0, tmp_path / "file", region)
    with (tmp_path / "file").open("r+b") as file:  # a mapping shows what is written afterwards
        file.seek(PAGE + row)
        file.write(b"\x05")
    assert space.take(space.starts[[0]] + 1)[0, 0] == 5


def test_a_file_that_ends_too_early(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(bytes(10))
    region = Region(offset=3, shape=(4, 4), dtype=np.dtype("uint8"))
    with pytest.raises(OSError, match="ends too early"):
        RowSpace([4], (4,), np.uint8).place(0, tmp_path / "short", region)


def test_no_files() -> None:
    assert RowSpace([], (3, 2), np.float16).array.shape == (0, 3, 2)


def test_between_the_files_there_is_nothing(tmp_path: Path) -> None:
    """A slot that is no row's ends the process, where it could have given another file's bytes."""
    code = """
import sys, numpy as np
from featcache.reading.mapping import RowSpace
RowSpace([4, 4], (8,), np.uint8).array[0].sum()
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path)
    assert done.returncode == -11


def test_too_few_addresses() -> None:
    with pytest.raises(MappingError, match=r"bytes of features cannot be mapped") as raised:
        RowSpace([1 << 40], (1 << 10,), np.uint8)
    assert raised.value.errno == errno.ENOMEM


@pytest.mark.parametrize("shape", [(64, 100, 768), (3,)])
def test_aligned_arrays(shape: tuple[int, ...]) -> None:
    array = aligned_empty(shape, np.float16)
    assert array.shape == shape
    assert array.flags.c_contiguous
    assert array.ctypes.data % CACHE_LINE == 0


def test_systems_without_large_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "HUGE_PAGE", PAGE)
    contents = [np.full((5, PAGE), number, np.uint8) for number in (3, 4)]
    space = RowSpace([5, 5], (PAGE,), np.uint8)
    for number, rows in enumerate(contents):
        space.place(number, tmp_path / f"{number}", write(tmp_path / f"{number}", rows, PAGE))
    for number, rows in enumerate(contents):
        slots = space.starts[number] + np.arange(len(rows))
        np.testing.assert_array_equal(space.take(slots), rows)

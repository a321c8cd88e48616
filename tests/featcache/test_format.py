"""docs/cache-format.md, held against the files that featcache writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash

from featcache import Cache
from featcache.datasets.columns import LABELS_SCHEMA
from featcache.storage.fingerprint import canonical_json, digest
from featcache.storage.tables import SAMPLES_SCHEMA

DOCUMENT = (Path(__file__).parents[2] / "docs/cache-format.md").read_text()


VERSION1 = Path(__file__).parents[1] / "data/version1/cache"


@pytest.mark.parametrize("kind", ["small_cache", "grown", "version 1"])
def test_the_reader_in_the_document(kind: str, request: pytest.FixtureRequest) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert "featcache" not in code
    space: dict[str, Any] = {}
    exec(code, space)
    folder = VERSION1 if kind == "version 1" else request.getfixturevalue(kind)
    folder = folder[0] if isinstance(folder, tuple) else folder
    plain, cache = space["PlainCache"](folder), Cache.open(folder)
    assert plain.ids == cache.sample_ids.to_pylist()
    for row, sample_id in enumerate(plain.ids):
        for view in cache.views:
            found = plain.read(sample_id, view)
            np.testing.assert_array_equal(found, cache.tokens([row], view=view)[0])


def test_lines_about_earlier_images_as_documented(grown: tuple[Path, Path]) -> None:
    """The shards alone, read as the document says, tell what samples.parquet says."""
    images: dict[tuple[int, int], dict[str, Any]] = {}
    for path in sorted((grown[0] / "shards").glob("*.h5")):
        shard, place = int(path.stem), 0
        with h5py.File(path) as file:
            lines = file["records"][()].tobytes().decode().splitlines()
        assert list(json.loads(lines[0])) == ["settings"]
        for line in map(json.loads, lines[1:]):
            if "gone" in line:
                images[line["gone"]["shard"], line["gone"]["image"]]["status"] = "gone"
            elif "moved" in line:
                moved = line["moved"]
                image = images[moved.pop("shard"), moved.pop("image")]
                image.update(moved, status="ok")
            else:
                images[shard, place] = line
                place += 1
    table = pq.read_table(grown[0] / "samples.parquet").to_pylist()
    told = [images[key] for key in sorted(images)]
    names = ["sample_id", "path", "status", "sha256"]
    assert [[x[n] for n in names] for x in told] == [[x[n] for n in names] for x in table]


def test_row_digests_as_documented(small_cache: Path) -> None:
    for path in sorted((small_cache / "shards").glob("*.h5")):
        content = path.read_bytes()
        with h5py.File(path) as file:
            at = {name: file[name].id.get_offset() for name in file}
            size = {name: file[name].nbytes // max(1, len(file[name])) for name in file}
            for row in range(len(file["sample_id"])):
                covered = b"".join(
                    content[at[name] + row * size[name] :][: size[name]]
                    for name in ("sample_id", "tokens", "scales", "pooled")
                    if name in file
                )
                assert xxhash.xxh3_128(covered).digest() == file["digests"][row].tobytes()
            stated = file.attrs["records_digest"].decode()
            assert xxhash.xxh3_128(file["records"][()].tobytes()).hexdigest() == stated


def test_manifest_as_documented(small_cache: Path) -> None:
    text = (small_cache / "cache.json").read_text("utf-8")
    value = json.loads(text)
    table = DOCUMENT.split("## cache.json")[1].split("\n`files` may name")[0]
    documented = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert [key for key in documented if key not in ("planned", "part")] == list(value)
    assert value["fingerprint_digest"] == digest({**value["fingerprint"], "schema_version": 1})
    for name, entry in value["files"].items():
        content = (small_cache / name).read_bytes()
        assert entry["bytes"] == len(content)
        assert entry["xxh3_128"] == xxhash.xxh3_128(content).hexdigest()
    assert text == json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def test_large_data_sets_are_aligned(tmp_path: Path) -> None:
    from featcache.storage.hdf5 import write_arrays

    arrays: dict[str, np.ndarray[Any, Any]] = {
        "small": np.zeros(65535, np.uint8), "one": np.zeros(65536, np.uint8),
        "two": np.zeros(50000, np.float16),
    }  # fmt: skip
    write_arrays(tmp_path / "x.h5", arrays, {})
    with h5py.File(tmp_path / "x.h5") as file:
        assert [file[name].id.get_offset() % 65536 for name in ("one", "two")] == [0, 0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1.0, 0.1, 1e-5]}, '{"a":[1.0,0.1,1e-05],"b":1}'),
        ({"é": 'a"\\\n\x01'}, '{"é":"a\\"\\\\\\n\\u0001"}'),
        ([True, None, -3], "[true,null,-3]"),
    ],
)
def test_canonical_json_as_documented(value: Any, text: str) -> None:
    assert canonical_json(value) == text


@pytest.mark.parametrize("kind", ["samples", "labels"])
def test_every_column_is_documented(kind: str) -> None:
    schema = {"samples": SAMPLES_SCHEMA, "labels": LABELS_SCHEMA}[kind]
    start = DOCUMENT.index(f"**{kind}.parquet**")
    text = DOCUMENT[start : DOCUMENT.index("\n\n", start)].split("\n- **")[0]
    documented = [word for word in re.findall(r"`(\w+)`", text) if word in schema.names]
    assert documented == schema.names


def test_large_data_sets_that_are_not_aligned_are_refused(tmp_path: Path) -> None:
    """They could be mapped on some machines and not on others, according to the page size."""
    from featcache.errors import CacheFormatError
    from featcache.storage.hdf5 import read_regions

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.zeros(70_000, np.uint8)
        assert file["x"].id.get_offset() % 65536
    with pytest.raises(CacheFormatError, match=r"x: found byte \d+, expected a multiple of 65536"):
        read_regions(tmp_path / "x.h5", {"x": (np.dtype("uint8"), ())}, {})

from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcache.errors import CacheFormatError
from featcache.storage.layout import Shapes
from featcache.storage.manifest import Manifest
from featcache.storage.records import SampleRecord
from featcache.storage.shard import (
    ShardContent,
    mismatches,
    open_shard,
    open_shard_of,
    shard_settings,
    write_shard,
)

SHAPES = Shapes(num_tokens=3, token_dim=5, pooled_dim=4, context_length=2, text_dim=2)


def make(path, names, failed=(), dtype="float16", views=2, size=SHAPES, settings=None):
    generator = np.random.default_rng(0)
    ok = [name for name in names if name not in failed]
    shape = (len(ok), views, size.num_tokens, size.token_dim)
    content = ShardContent(
        records=[
            SampleRecord(
                sample_id=name,
                path=f"{name}.png",
                status="failed" if name in failed else "ok",
                error="broken" if name in failed else None,
            )
            for name in names
        ],
        tokens=generator.integers(-99, 99, shape).astype(dtype),
        pooled=generator.normal(size=(len(ok), views, size.pooled_dim)).astype("float32"),
        scales=np.ones(shape[:3], "float32") if dtype == "int8" else None,
    )
    entry = write_shard(path, content, index=7, fingerprint="f" * 32, settings=settings)
    return content, entry


def reopen(path, dtype="float16", views=2, size=SHAPES):
    return open_shard(path, shapes=size, num_views=views, dtype=dtype)


# What a file name can hold, save what no UTF-8 has.
NAMES = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=9
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(NAMES, unique=True, max_size=5),
    dtype=st.sampled_from(["float16", "float32", "int8"]),
    views=st.integers(1, 2),
    data=st.data(),
)
def test_round_trip(tmp_path, names, dtype, views, data):
    failed = data.draw(st.sets(st.sampled_from(names))) if names else set()
    path = tmp_path / "00007.h5"
    content, entry = make(path, names, failed, dtype, views, settings={"a": [1]})
    shard = reopen(path, dtype, views)
    assert shard.records() == content.records
    assert shard.settings() == shard_settings(path) == {"a": [1]}
    assert (shard.index, shard.fingerprint, shard.num_rows) == (7, "f" * 32, entry.rows)
    np.testing.assert_array_equal(shard.map("tokens"), content.tokens)
    np.testing.assert_array_equal(shard.map("pooled"), content.pooled)
    assert shard.damaged_rows() == []
    assert entry.bytes == path.stat().st_size
    with h5py.File(path) as file:  # any HDF5 tool reads it
        np.testing.assert_array_equal(file["tokens"][()], content.tokens)
        assert [name.decode() for name in file["sample_id"][()]] == [
            name for name in names if name not in failed
        ]


def test_the_bytes_are_a_function_of_the_content(tmp_path):
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    make(one, ["a", "b"])
    make(two, ["a", "b"])
    assert one.read_bytes() == two.read_bytes()


def test_large_arrays_begin_at_pages(tmp_path):
    size = Shapes(num_tokens=50, token_dim=64, pooled_dim=900, context_length=2, text_dim=2)
    make(tmp_path / "00007.h5", [str(n) for n in range(20)], size=size)
    shard = reopen(tmp_path / "00007.h5", size=size)
    for name in ("tokens", "pooled"):
        assert shard.regions[name].num_bytes >= 65536
        assert shard.regions[name].offset % 65536 == 0


def test_rows_and_ids_must_agree(tmp_path):
    content, _ = make(tmp_path / "a.h5", ["a", "b"])
    short = ShardContent(records=content.records[:1], tokens=content.tokens, pooled=content.pooled)
    with pytest.raises(ValueError, match="2 rows of tokens, 1 id"):
        write_shard(tmp_path / "b.h5", short, index=0, fingerprint="f")
    assert not (tmp_path / "b.h5").exists()


@pytest.mark.parametrize("other", [{"dtype": "float32"}, {"views": 1}, {"dtype": "int8"}], ids=str)
def test_another_shape_or_dtype_is_refused(tmp_path, other):
    make(tmp_path / "00007.h5", ["a"])
    with pytest.raises(CacheFormatError, match=r"found .* expected"):
        reopen(tmp_path / "00007.h5", **other)


def test_shards_without_settings(tmp_path):
    make(tmp_path / "00007.h5", ["a"])
    assert shard_settings(tmp_path / "00007.h5") is None
    make(tmp_path / "00008.h5", [])
    assert shard_settings(tmp_path / "00008.h5") is None


def test_mismatches(cache_copy):
    manifest = Manifest.read(cache_copy)
    entries = manifest.shards()

    def found(source, name, manifest=manifest, entry=None):
        return mismatches(open_shard_of(cache_copy, manifest, source), manifest, name, entry)

    for name, entry in entries.items():
        assert found(name, name, entry=entry) == []
    one, last = "shards/00000.h5", "shards/00003.h5"
    assert found(one, last) == ["it is shard 0: swapped or copied"]
    other = replace(manifest, fingerprint=replace(manifest.fingerprint, preprocessing={}))
    (features,) = found(one, one, other)
    assert "belongs to another cache" in features
    assert found(one, one, entry=entries[last]) == ["2 rows, expected 1"]

"""Exports are read back with other people's tools: safetensors, tarfile, numpy, pyarrow."""

import io
import json
import shutil
import tarfile
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from featcache.errors import CacheFormatError, DiskSpaceError, FeatcacheError
from featcache.maintenance.export import export_safetensors, export_webdataset
from featcache.reading.cache import Cache


def members(file):
    with tarfile.open(file) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar.getmembers()}


def array(content):
    return np.load(io.BytesIO(content), allow_pickle=False)


def test_safetensors(small_cache, tmp_path):
    cache, steps = Cache.open(small_cache), []
    summary = export_safetensors(
        small_cache, tmp_path / "out", on_progress=lambda *s: steps.append(s)
    )
    assert summary.images == 8
    assert steps[-1] == (4, 4)
    samples = pq.read_table(tmp_path / "out/samples.parquet").to_pylist()
    row = 0
    for sample in samples:
        if sample["status"] == "ok":
            shard = load_file(tmp_path / f"out/{sample['shard']:05d}.safetensors")
            assert shard["tokens"].dtype == np.float16
            for view in (0, 1):
                np.testing.assert_array_equal(
                    shard["tokens"][sample["row"], view], cache.tokens([row], view)[0]
                )
                np.testing.assert_array_equal(
                    shard["pooled"][sample["row"], view], cache.pooled([row], view)[0]
                )
            row += 1
    facts = json.loads((tmp_path / "out/export.json").read_text())
    prompts = load_file(tmp_path / "out/prompts.safetensors")
    for n, text in enumerate(facts["prompts"]):
        np.testing.assert_array_equal(prompts["tokens"][n], cache.prompt(text).tokens)
        np.testing.assert_array_equal(prompts["pooled"][n], cache.prompt(text).pooled)
    assert pq.read_table(tmp_path / "out/labels.parquet").equals(cache.labels)
    assert facts["fingerprint_digest"] == cache.fingerprint.digest
    assert summary.bytes == sum(f.stat().st_size for f in (tmp_path / "out").iterdir())


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_webdataset(make_small_cache, tmp_path, dtype):
    path = make_small_cache(tmp_path / "cache", dtype=dtype)
    cache = Cache.open(path)
    export_webdataset(path, tmp_path / "out")
    found = {}
    for file in sorted((tmp_path / "out").glob("0*.tar")):
        found |= members(file)
    assert len(found) == 3 * len(cache)
    for row in range(len(cache)):
        key = f"{row:09d}"
        facts = json.loads(found[f"{key}.json"])
        assert facts["sample_id"] == cache.sample_ids[row].as_py()
        assert len(facts["labels"]) == 3
        tokens = array(found[f"{key}.tokens.npy"])
        assert tokens.dtype == np.float16
        for view in (0, 1):
            np.testing.assert_array_equal(tokens[view], cache.tokens([row], view)[0])
            np.testing.assert_array_equal(
                array(found[f"{key}.pooled.npy"])[view], cache.pooled([row], view)[0]
            )
    prompts = members(tmp_path / "out/prompts.tar")
    text = prompts["000000000.txt"].decode()
    np.testing.assert_array_equal(array(prompts["000000000.tokens.npy"]), cache.prompt(text).tokens)


def test_the_same_cache_gives_the_same_files(small_cache, tmp_path):
    for export in (export_safetensors, export_webdataset):
        for name in ("one", "two"):
            export(small_cache, tmp_path / export.__name__ / name)
        one, two = (
            {f.name: f.read_bytes() for f in (tmp_path / export.__name__ / name).iterdir()}
            for name in ("one", "two")
        )
        assert one == two


@pytest.mark.parametrize("export", [export_safetensors, export_webdataset])
def test_refusals(cache_copy, tmp_path, export):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").touch()
    with pytest.raises(FeatcacheError, match="not an empty folder"):
        export(cache_copy, tmp_path / "full")
    shard = cache_copy / "shards/00001.h5"
    content = bytearray(shard.read_bytes())
    content[content.index(b"image_03.png")] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CacheFormatError, match="featcache repair"):
        export(cache_copy, tmp_path / "out")
    assert not (tmp_path / "out/export.json").exists()


@pytest.mark.parametrize("export", [export_safetensors, export_webdataset])
def test_a_copied_shard_is_refused(cache_copy, tmp_path, export):
    shutil.copy(cache_copy / "shards/00000.h5", cache_copy / "shards/00002.h5")  # 2 rows each
    with pytest.raises(CacheFormatError, match=r"00002\.h5: it is shard 0: swapped or copied"):
        export(cache_copy, tmp_path / "out")
    assert not (tmp_path / "out/export.json").exists()


@pytest.mark.parametrize("export", [export_safetensors, export_webdataset])
def test_what_does_not_fit_is_not_begun(small_cache, tmp_path, export, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DiskSpaceError, match="choose another --out"):
        export(small_cache, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())

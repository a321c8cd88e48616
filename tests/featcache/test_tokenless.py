"""Caches that keep pooled embeddings alone: P = 0, and no data set of tokens in the shards."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from featcache.backbone import BackboneSpec, load_backbone
from featcache.errors import TokensNotStoredError
from featcache.extraction.extract import extract
from featcache.extraction.finish import finish
from featcache.extraction.pipeline import make_shards
from featcache.extraction.plan import ExtractConfig, plan_manifest, split_chunks
from featcache.maintenance.compact import compact_cache
from featcache.maintenance.export import export_safetensors, export_webdataset
from featcache.maintenance.merge import merge_caches
from featcache.maintenance.repair import repair_cache
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache
from featcache.storage.layout import Shapes

if TYPE_CHECKING:
    from pathlib import Path

    from featcache.backbone import Backbone
    from featcache.datasets.base import Dataset


def make(
    out: Path, dataset: Dataset, backbone: Backbone, part: tuple[int, int] | None = None,
    dtype: str = "float16",
) -> Path:  # fmt: skip
    config = ExtractConfig(views=("original", "hflip"), shard_size=3, part=part, dtype=dtype)
    images = dataset.images()
    manifest = plan_manifest(dataset, backbone, config, images)
    manifest = replace(manifest, shapes=manifest.shapes.without_tokens())
    (out / "shards").mkdir(parents=True)
    entries = {}
    make_shards(
        split_chunks(images, 3, manifest.part),
        root=dataset.root,
        out=out,
        backbone=backbone,
        manifest=manifest,
        batch_size=2,
        on_shard=entries.__setitem__,
    )
    finish(out, manifest, entries, dataset.labels_table(), {}, backbone)
    return out


@pytest.fixture(scope="module")
def tokenless(
    tmp_path_factory: pytest.TempPathFactory, image_dataset: Dataset, tiny_backbone: Backbone
) -> Path:
    return make(tmp_path_factory.mktemp("tokenless") / "cache", image_dataset, tiny_backbone)


def test_it_is_read(tokenless: Path, small_cache: Path) -> None:
    cache, whole = Cache.open(tokenless, verify_rows=True), Cache.open(small_cache)
    assert (cache.shapes.num_tokens, cache.shapes.token_dim) == (0, 0)
    assert len(cache) == len(whole)
    rows = np.arange(len(cache))
    np.testing.assert_array_equal(cache.pooled(rows, "hflip"), whole.pooled(rows, "hflip"))
    with pytest.raises(TokensNotStoredError, match="pooled embeddings only"):
        cache.tokens(rows)
    with h5py.File(tokenless / "shards/00000.h5") as file:
        assert sorted(file) == ["digests", "pooled", "records", "sample_id"]
    assert verify_cache(tokenless).lines() == []


def test_int8_has_no_scales_then(
    tmp_path: Path, image_dataset: Dataset, tiny_backbone: Backbone
) -> None:
    cache = Cache.open(make(tmp_path / "c", image_dataset, tiny_backbone, dtype="int8"))
    assert cache.pooled([0]).shape == (1, 6)
    assert verify_cache(tmp_path / "c").ok


def test_it_is_verified_and_repaired(
    tokenless: Path, tmp_path: Path, image_folder: Path, tiny_backbone: Backbone
) -> None:
    copy = shutil.copytree(tokenless, tmp_path / "cache")
    file = copy / "shards/00001.h5"
    content = bytearray(file.read_bytes())
    with h5py.File(file) as shard:
        content[shard["pooled"].id.get_offset()] ^= 1
    file.write_bytes(content)
    (damage,) = verify_cache(copy).damages
    assert damage.rows == (0,)
    (copy / "cache.json").unlink()
    repair_cache(copy, image_folder, backbone=tiny_backbone)
    assert verify_cache(copy).lines() == []
    assert Cache.open(copy).state == Cache.open(tokenless).state
    assert compact_cache(copy).rows == 0


def test_its_parts_are_merged(
    tokenless: Path, tmp_path: Path, image_dataset: Dataset, tiny_backbone: Backbone
) -> None:
    parts = [make(tmp_path / f"{n}", image_dataset, tiny_backbone, (n, 2)) for n in (1, 2)]
    merge_caches(parts, tmp_path / "merged")
    assert Cache.open(tmp_path / "merged").state == Cache.open(tokenless).state


def test_it_is_exported(tokenless: Path, tmp_path: Path) -> None:
    export_safetensors(tokenless, tmp_path / "st")
    assert set(load_file(tmp_path / "st/00000.safetensors")) == {"pooled"}
    assert export_webdataset(tokenless, tmp_path / "wds").images == 8


@pytest.mark.parametrize("change", [{"num_tokens": 0}, {"token_dim": 0}, {"pooled_dim": 0}])
def test_both_sizes_of_tokens_are_zero_or_none(change: dict[str, int]) -> None:
    sizes = {
        "num_tokens": 4, "token_dim": 6, "pooled_dim": 6, "context_length": 8, "text_dim": 8,
    }  # fmt: skip
    with pytest.raises(ValueError, match="must be a positive integer"):
        Shapes(**(sizes | change))


def test_a_backbone_without_tokens(
    tmp_path: Path, tokenless: Path, image_dataset: Dataset, tiny_config: Path
) -> None:
    spec = BackboneSpec(model_config=str(tiny_config), pretrained="seed:0", tokens="none")
    config = ExtractConfig(views=("original", "hflip"), shard_size=3, batch_size=2)
    extract(image_dataset, tmp_path / "cache", load_backbone(spec), config)
    cache = Cache.open(tmp_path / "cache")
    assert cache.fingerprint.digest != Cache.open(tokenless).fingerprint.digest
    rows = np.arange(len(cache))
    np.testing.assert_array_equal(cache.pooled(rows), Cache.open(tokenless).pooled(rows))

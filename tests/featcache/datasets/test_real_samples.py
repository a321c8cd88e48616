"""The two real samples, through reader, real tower and cache, against a second reading of them."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featcache.backbone import BackboneSpec, load_backbone
from featcache.datasets import open_dataset
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.reading.cache import Cache

pytestmark = [pytest.mark.shared, pytest.mark.slow]


@pytest.fixture(scope="module")
def shared():
    if not (folder := os.environ.get("FEATCACHE_SHARED")):
        pytest.skip("FEATCACHE_SHARED is not set")
    return Path(folder)


@pytest.fixture(scope="module")
def backbone(shared):
    tower = shared / "backbones" / "vit-s14-photo"
    return load_backbone(
        BackboneSpec(
            name="vit-s14-photo",
            pretrained=str(tower.with_suffix(".safetensors")),
            model_config=str(tower.with_suffix(".json")),
            token_pool=2,
        )
    )


def test_coco_counts(shared, backbone, tmp_path):
    root = shared / "data" / "coco_sample"
    summary = extract(open_dataset("coco", root), tmp_path / "cache", backbone)
    cache = Cache.open(tmp_path / "cache")
    assert (summary.images, summary.failed) == (207, 0)
    assert len(cache) == 207
    assert np.isfinite(cache.tokens(np.arange(207)).astype(np.float32)).all()

    expected = Counter()
    for part in ("train2017", "val2017"):
        content = json.loads((root / "annotations" / f"instances_{part}.json").read_text())
        names = {item["id"]: item["name"] for item in content["categories"]}
        for item in content["annotations"]:
            expected[f"{item['image_id']:012d}", names[item["category_id"]]] += 1
    rows = cache.labels.to_pylist()
    prefix = "sort images by the number of "
    found = {(r["sample_id"], r["query"].removeprefix(prefix)[:-1]): r["value"] for r in rows}
    assert found == expected
    for row in rows[:20]:
        assert cache.prompt(row["query"]).tokens.shape[1] == backbone.text_dim


def test_utkface_ages(shared, backbone, tmp_path):
    root = shared / "data" / "utkface_sample"
    dataset = open_dataset("utkface", root, youngest=0, oldest=116)
    extract(dataset, tmp_path / "cache", backbone, ExtractConfig(limit=150))
    cache = Cache.open(tmp_path / "cache")
    assert len(cache) == 150
    labels = {row["sample_id"]: row["value"] for row in cache.labels.to_pylist()}
    for sample in cache.samples.to_pylist():
        age = int(Path(sample["path"]).name.partition("_")[0])
        assert labels[sample["sample_id"]] == age
        with Image.open(root / sample["path"]) as image:
            assert (sample["width"], sample["height"]) == image.size

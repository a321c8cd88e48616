"""CLIP-IQA through the commands, against values of the released forward pass."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from featcache import Cache

if TYPE_CHECKING:
    from collections.abc import Callable

PICTURES = 4


@pytest.fixture
def shared() -> Path:
    if "FEATCACHE_SHARED" not in os.environ:
        pytest.skip("FEATCACHE_SHARED is not set")
    return Path(os.environ["FEATCACHE_SHARED"])


@pytest.mark.shared
@pytest.mark.parametrize("tower", ["rn", "vit"])
@pytest.mark.parametrize("positions", ["none", "interpolated"])
def test_embeddings_and_scores_are_those_of_the_released_code(
    shared: Path, adapter: Callable[..., Any], featcache: Callable[..., Any], tmp_path: Path,
    tower: str, positions: str,
):  # fmt: skip
    golden = shared / "golden"
    with np.load(golden / "clip_iqa_native_a.npz") as file:
        values = dict(file)
    (tmp_path / "photos").mkdir()
    for n in range(PICTURES):
        Image.fromarray(values[f"image/{n}"]).save(tmp_path / "photos" / f"{n}.png")
    backbone = (
        *("--model-config", golden / f"clip_iqa_native_a_{tower}.json"),
        *("--pretrained", golden / f"clip_iqa_native_a_{tower}.safetensors"),
    )
    cache = tmp_path / "cache"
    code, _, err = featcache(
        *("extract", "--dataset", "folder", "--root", tmp_path / "photos", "--out", cache),
        *backbone,
        *("--resize", "native", "--positions", positions, "--tokens", "none", "--device", "cpu"),
    )
    assert code == 0, err
    pooled = Cache.open(cache).pooled(np.arange(PICTURES))
    for n in range(PICTURES):
        assert_close(pooled[n], values[f"{tower}/pooled/{positions}/{n}"])
    for number, pair in enumerate(values["pairs"]):
        code, ranked, err = adapter("rank", "--shards", cache, "--antonyms", *pair)
        assert code == 0, err
        rows = list(csv.DictReader(io.StringIO(ranked)))
        assert len(rows) == PICTURES
        for row in rows:
            n = row["path"].removesuffix(".png")
            expected = values[f"{tower}/scores/{positions}/{n}"][number]
            assert_close(float(row["score"]), expected)


def assert_close(found: Any, expected: Any) -> None:
    """Within 1e-4 of the largest value."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_a_folder_at_its_own_resolution(adapter: Callable[..., Any], tmp_path: Path):
    """Rank with a ResNet without positions; the score of a picture does not hang on the others."""
    photos = tmp_path / "photos"
    photos.mkdir()
    generator = np.random.default_rng(0)
    for n, size in enumerate([(64, 64), (40, 90), (90, 40), (20, 64)]):
        pixels = generator.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{n}.png")
    config = tmp_path / "tiny-rn.json"
    config.write_text(json.dumps(TINY_RESNET))
    common = (
        *("--antonyms", "Good photo.", "Bad photo.", "--model-config", config),
        *("--pretrained", "seed:0", "--resize", "native", "--positions", "none"),
        *("--device", "cpu", "--max-failures", "0.5"),
    )
    code, ranked, err = adapter("rank", "--images", photos, "--keep", tmp_path / "kept", *common)
    assert code == 0, err
    assert "too small for the backbone: 64 x 20 pixels" in " ".join(err.split())
    scores = {row["path"]: row["score"] for row in csv.DictReader(io.StringIO(ranked))}
    assert sorted(scores) == ["0.png", "1.png", "2.png"]
    assert Cache.open(tmp_path / "kept").shapes.num_tokens == 0
    for name in ("0.png", "3.png"):
        (photos / name).unlink()
    code, ranked, err = adapter("rank", "--images", photos, *common)
    assert code == 0, err
    again = {row["path"]: row["score"] for row in csv.DictReader(io.StringIO(ranked))}
    assert again == {name: scores[name] for name in ("1.png", "2.png")}


TINY_RESNET = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}

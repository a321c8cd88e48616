"""Images as they are, or to a shorter side: each as if it were alone, in the data set's order."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from featcache import Cache
from featcache.backbone import Backbone, BackboneSpec, load_backbone
from featcache.datasets import open_dataset
from featcache.extraction import rows
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.images.preprocess import normalize, read_image

if TYPE_CHECKING:
    from pathlib import Path

SIZES = [(20, 30), (30, 20), (20, 30), (16, 16), (7, 40), (64, 50), (30, 20), (20, 30)]
TOO_SMALL = 4  # of SIZES: a side of 7 pixels, and a patch has 8


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sizes") / "photos"
    root.mkdir()
    generator = np.random.default_rng(0)
    for n, (height, width) in enumerate(SIZES):
        pixels = generator.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{n}.png")
    return root


def backbone_of(tiny_config: Path, resize: str) -> Backbone:
    return load_backbone(
        BackboneSpec(
            model_config=str(tiny_config),
            pretrained="seed:0",
            resize=resize,
            positions="none",
            tokens="none",
        )
    )


def run(root: Path, out: Path, backbone: Backbone, **changes: object) -> Cache:
    settings = {"batch_size": 2, "workers": 2, "max_failures": 1.0, "dtype": "float32"} | changes
    extract(open_dataset("folder", root), out, backbone, ExtractConfig(**settings))  # type: ignore[arg-type]
    return Cache.open(out)


@pytest.mark.parametrize("resize", ["native", "short:16", "squash"])
def test_each_image_as_if_it_were_alone(
    photos: Path, tmp_path: Path, tiny_config: Path, resize: str
):
    backbone = backbone_of(tiny_config, resize)
    cache = run(photos, tmp_path / "cache", backbone, views=("original", "hflip"))
    rows = cache.samples.to_pylist()
    failed = [row["path"] for row in rows if row["status"] == "failed"]
    assert failed == ([f"{TOO_SMALL}.png"] if resize == "native" else [])
    if failed:
        assert "too small for the backbone: 40 x 7 pixels" in rows[TOO_SMALL]["error"]
    good = [row["path"] for row in rows if row["status"] == "ok"]
    for row, path in enumerate(good):
        decoded = read_image(photos / path, backbone.preprocessing)
        pixels = torch.from_numpy(decoded.pixels)[None]  # [1, 3, H, W]
        images = normalize(pixels, backbone.preprocessing)
        for view, seen in (("original", images), ("hflip", images.flip(-1))):
            expected = backbone.encode_images(seen).pooled.numpy()
            found = cache.pooled([row], view=view)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_same_bytes_whatever_was_there(photos: Path, tmp_path: Path, tiny_config: Path):
    backbone = backbone_of(tiny_config, "native")
    whole = run(photos, tmp_path / "whole", backbone, shard_size=3)
    run(photos, tmp_path / "parts", backbone, shard_size=3)
    for shard in sorted((tmp_path / "whole/shards").iterdir())[1:]:
        (tmp_path / "parts/shards" / shard.name).unlink()
    run(photos, tmp_path / "parts", backbone, shard_size=3, workers=1)
    for shard in (tmp_path / "whole/shards").iterdir():
        assert (tmp_path / "parts/shards" / shard.name).read_bytes() == shard.read_bytes()
    assert whole.manifest.shapes.num_tokens == 0


def test_resizing_and_positions_are_other_features(photos: Path, tmp_path: Path, tiny_config: Path):
    from featcache.errors import FingerprintMismatchError

    run(photos, tmp_path / "cache", backbone_of(tiny_config, "native"))
    with pytest.raises(FingerprintMismatchError, match=r"preprocessing\.resize: 'native' and 'sho"):
        run(photos, tmp_path / "cache", backbone_of(tiny_config, "short:16"))


def test_an_image_that_the_device_has_no_memory_for_fails_alone(
    photos: Path, tmp_path: Path, tiny_config: Path, monkeypatch: pytest.MonkeyPatch
):
    encode = rows.encode_views

    def scarce(backbone: Backbone, pixels: np.ndarray, views: tuple[str, ...]) -> object:
        if pixels[0, 0].size > 3000:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(backbone, pixels, views)

    monkeypatch.setattr(rows, "encode_views", scarce)
    cache = run(photos, tmp_path / "cache", backbone_of(tiny_config, "native"))
    errors = [row["error"] for row in cache.samples.to_pylist()]
    assert "50 x 64 pixels need more memory than cpu has" in errors[5]
    assert len(cache) == len(SIZES) - 2


def test_an_embedding_that_is_not_finite_is_a_failure(
    photos: Path, tmp_path: Path, tiny_config: Path, monkeypatch: pytest.MonkeyPatch
):
    encode = rows.encode_views

    def overflowing(backbone: Backbone, pixels: np.ndarray, views: tuple[str, ...]) -> object:
        tokens, pooled = encode(backbone, pixels, views)
        if pixels.shape[2:] == (16, 16):
            pooled = [vectors * torch.nan for vectors in pooled]
        return tokens, pooled

    monkeypatch.setattr(rows, "encode_views", overflowing)
    backbone = backbone_of(tiny_config, "native")
    cache = run(photos, tmp_path / "cache", backbone)
    assert cache.samples.to_pylist()[3]["error"] == "the pooled embedding is not finite in fp32"
    from featcache.errors import TooManyFailuresError

    with pytest.raises(TooManyFailuresError, match="not finite"):
        run(photos, tmp_path / "other", backbone, max_failures=0.2)


RUN = """
import resource, sys
from featcache.backbone import BackboneSpec, load_backbone
from featcache.datasets import open_dataset
from featcache.extraction.extract import extract

spec = BackboneSpec(name="RN50-quickgelu", pretrained="seed:0", resize="native", positions="none",
                    tokens="none")
extract(open_dataset("folder", sys.argv[1]), sys.argv[2], load_backbone(spec))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_photos_of_twelve_megapixels_on_a_cpu(tmp_path: Path):
    """A ResNet-50 on two photos, one of them upright: memory is that of one."""
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (75, 100, 3), np.uint8)
    photo = Image.fromarray(noise).resize((4000, 3000))
    photo.save(tmp_path / "photos/across.jpg")
    photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photos/upright.jpg")
    done = subprocess.run(
        [sys.executable, "-c", RUN, tmp_path / "photos", tmp_path / "cache"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) * 1024 < 6 << 30
    cache = Cache.open(tmp_path / "cache")
    assert len(cache) == 2
    assert np.isfinite(cache.pooled([0, 1])).all()

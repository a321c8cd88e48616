"""A tiny backbone, a few drawn images, and a small finished cache made of them.

The images: ten, two of them unreadable; shards of three, so the last holds one image. Labels of
two queries, with splits and folds.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from featcache.backbone import Backbone
    from featcache.datasets.base import Dataset

TINY = {
    "embed_dim": 6,
    "vision_cfg": {
        "image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8,
    },
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}  # fmt: skip

IMAGES = 10
UNREADABLE = (2, 7)


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model config of ``tiny_backbone``."""
    path: Path = tmp_path_factory.mktemp("backbone") / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture(scope="session")
def tiny_backbone(tiny_config: Path) -> Backbone:
    """P = 4 tokens of C = 6 channels, pooled E = 6, prompts of T = 8 tokens of D = 8 channels."""
    from featcache.backbone import BackboneSpec, load_backbone

    return load_backbone(BackboneSpec(model_config=str(tiny_config), pretrained="seed:0"))


def draw_images(root: Path, count: int = IMAGES, unreadable: tuple[int, ...] = UNREADABLE) -> Path:
    """Write images and a table of labels below ``root``."""
    generator = np.random.default_rng(0)
    root.mkdir(parents=True)
    rows = ["path,query,value,task,split,fold"]
    for n in range(count):
        name = f"image_{n:02d}.png"
        pixels = generator.integers(0, 256, (12 + n, 20, 3), np.uint8)
        if n in unreadable:
            (root / name).write_bytes(b"not an image")
        else:
            Image.fromarray(pixels).save(root / name)
        split = ("train", "val", "test")[n % 3]
        rows.append(f"{name},number of cats.,{n},count,{split},")
        rows += [f"{name},beauty.,{n / 8},quality,{split},{fold}" for fold in range(2)]
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images with labels; never write to it, copy it."""
    return draw_images(tmp_path_factory.mktemp("images") / "root")


@pytest.fixture(scope="session")
def image_dataset(image_folder: Path) -> Dataset:
    """The data set of ``image_folder``."""
    from featcache.datasets import open_dataset

    return open_dataset("table", image_folder)


@pytest.fixture(scope="session")
def make_small_cache(tiny_backbone: Backbone, image_dataset: Dataset) -> Callable[..., Path]:
    """Return a function: extract ``image_folder`` into a path, with any ``ExtractConfig`` field."""
    from featcache.extraction.extract import extract
    from featcache.extraction.plan import ExtractConfig

    def make(out: Path, **changes: Any) -> Path:
        dataset = changes.pop("dataset", image_dataset)
        backbone = changes.pop("backbone", tiny_backbone)
        settings: dict[str, Any] = {
            "views": ("original", "hflip"),
            "batch_size": 2,
            "workers": 1,
            "shard_size": 3,
            "max_failures": 1.0,
        }
        extract(dataset, out, backbone, ExtractConfig(**(settings | changes)))
        return out

    return make


@pytest.fixture(scope="session")
def small_cache(
    tmp_path_factory: pytest.TempPathFactory, make_small_cache: Callable[..., Path]
) -> Path:
    """A finished cache of two views in float16; never write to it, take ``cache_copy``."""
    return make_small_cache(tmp_path_factory.mktemp("small") / "cache")


@pytest.fixture
def cache_copy(tmp_path: Path, small_cache: Path) -> Path:
    """A copy of ``small_cache`` for one test to change."""
    copy: Path = tmp_path / "cache"
    shutil.copytree(small_cache, copy)
    return copy


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Return a function: what a cache's files say, but for what no two caches share.

    Left out are the lock and the history, which say when and where, and of cache.json the identity
    with the digest that covers it.
    """

    def read(cache: Path) -> dict[str, bytes]:
        files = {
            file.relative_to(cache).as_posix(): file.read_bytes()
            for file in sorted(cache.rglob("*"))
            if file.is_file() and file.name not in (".lock", "history.jsonl")
        }
        if "cache.json" in files:
            lines = files["cache.json"].splitlines(keepends=True)
            unique = (b'  "identity": ', b'  "digest": ')
            files["cache.json"] = b"".join(x for x in lines if not x.startswith(unique))
        return files

    return read


@pytest.fixture(scope="session")
def grown(
    tmp_path_factory: pytest.TempPathFactory,
    image_folder: Path,
    make_small_cache: Callable[..., Path],
) -> tuple[Path, Path]:
    """A cache that has followed its folder, and the folder as it is now; never write to them.

    Two rounds: images came, went, were renamed and edited. Shards 0 to 3 are of the first
    extraction; shards 4 and 5 are of the first round, shard 6 of the second has no row.
    """
    from featcache.datasets import open_dataset

    root = tmp_path_factory.mktemp("grown")
    cache, photos = root / "cache", root / "photos"
    shutil.copytree(image_folder, photos)
    make_small_cache(cache, dataset=open_dataset("folder", photos))
    generator = np.random.default_rng(7)
    for name in ("a_1.png", "a_2.png", "a_3.png", "image_05.png"):
        Image.fromarray(generator.integers(0, 256, (9, 9, 3), np.uint8)).save(photos / name)
    (photos / "image_01.png").unlink()
    (photos / "image_03.png").rename(photos / "b.png")
    make_small_cache(cache, dataset=open_dataset("folder", photos))
    (photos / "b.png").rename(photos / "c.png")
    (photos / "a_2.png").unlink()
    make_small_cache(cache, dataset=open_dataset("folder", photos))
    return cache, photos


@pytest.fixture
def grown_copy(tmp_path: Path, grown: tuple[Path, Path]) -> tuple[Path, Path]:
    """A copy of ``grown`` for one test to change."""
    cache, photos = tmp_path / "cache", tmp_path / "photos"
    shutil.copytree(grown[0], cache)
    shutil.copytree(grown[1], photos)
    return cache, photos

"""A day's use: photos are added, renamed, edited and deleted, and the cache follows."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from featcache.datasets import open_dataset
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.maintenance.compact import compact_cache
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache

if TYPE_CHECKING:
    from pathlib import Path

    from featcache.backbone import Backbone

CONFIG = ExtractConfig(views=("original", "hflip"), batch_size=16, shard_size=64, workers=2)
PHOTOS = 300
ROUNDS = 5


class Album:
    """A folder of photos that somebody keeps."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.generator = random.Random(0)
        self.drawn = 0

    def names(self) -> list[str]:
        return sorted(p.relative_to(self.root).as_posix() for p in self.root.rglob("*.png"))

    def draw(self, name: str) -> None:
        self.drawn += 1
        pixels = np.random.default_rng(self.drawn).integers(0, 256, (24, 32, 3), np.uint8)
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(self.root / name)

    def a_day(self) -> str:
        """Change things, and say what a plan has to say; no name is used twice."""
        chosen = self.generator.sample(self.names(), 40)
        for name in chosen[:10]:
            (self.root / name).unlink()
        for n, name in enumerate(chosen[10:25]):
            target = self.root / f"{'abc'[n % 3]}/moved_{self.drawn}_{n}.png"
            target.parent.mkdir(exist_ok=True)
            (self.root / name).rename(target)
        for name in chosen[25:]:
            self.draw(name)
        for _ in range(20):
            self.draw(f"{self.generator.choice('abxyz')}/new_{self.drawn}.png")
        return "20 new, 10 gone, 15 moved, 15 changed"


@pytest.mark.slow
def test_five_rounds_of_a_day(tmp_path: Path, tiny_backbone: Backbone) -> None:
    album = Album(tmp_path / "photos")
    for n in range(PHOTOS):
        album.draw(f"{'abc'[n % 3]}/{n:03d}.png")

    def follow(out: Path) -> str:
        return extract(open_dataset("folder", album.root), out, tiny_backbone, CONFIG).growth

    cache = tmp_path / "cache"
    follow(cache)
    for day in range(ROUNDS):
        expected = album.a_day()
        assert follow(cache) == expected
        if day == 2:
            before = Cache.open(cache).state
            assert compact_cache(cache).rows == 3 * 25  # gone, or with another content
            assert Cache.open(cache).state == before
        shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
        follow(tmp_path / "fresh")
        grown, fresh = Cache.open(cache), Cache.open(tmp_path / "fresh")
        assert sorted(grown.sample_ids.to_pylist()) == fresh.sample_ids.to_pylist()
        assert len(grown) == PHOTOS + 10 * (day + 1)
        rows = fresh.rows(grown.sample_ids)
        for view in grown.views:
            tokens = grown.tokens(range(len(grown)), view).astype(np.float32)
            np.testing.assert_allclose(tokens, fresh.tokens(rows, view), rtol=2e-3, atol=1e-3)
        pooled = grown.pooled(range(len(grown)))
        np.testing.assert_allclose(pooled, fresh.pooled(rows), rtol=1e-4, atol=1e-5)
        assert verify_cache(cache, root=album.root).lines() == []
    assert str(follow(cache)) == "0 new, 0 gone, 0 moved, 0 changed"

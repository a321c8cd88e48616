"""Verify, repair, export and relabel, of a cache that has followed its folder."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

from featcache.errors import DatasetError
from featcache.maintenance.export import export_safetensors, export_webdataset
from featcache.maintenance.repair import repair_cache
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache
from featcache.storage.tables import SAMPLES_SCHEMA, read_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from featcache.backbone import Backbone

SHARDS = [f"shards/0000{n}.h5" for n in range(7)]
FILES = ["cache.json", "samples.parquet", "labels.parquet", *SHARDS]


def test_the_cache_is_what_its_fixture_says(grown: tuple[Path, Path]) -> None:
    folder, photos = grown
    cache = Cache.open(folder)
    assert [entry.rows for entry in cache.manifest.shards().values()] == [2, 3, 2, 1, 3, 1, 0]
    assert [entry.num_live for entry in cache.manifest.shards().values()] == [1, 2, 2, 1, 2, 1, 0]
    assert set(cache.sample_ids.to_pylist()) == {
        "image_00.png", "c.png", "image_04.png", "image_05.png", "image_06.png", "image_08.png",
        "image_09.png", "a_1.png", "a_3.png",
    }  # fmt: skip
    assert verify_cache(folder, root=photos).lines() == []


@pytest.mark.parametrize("seed", range(40))
def test_any_flipped_bit_is_found(grown_copy: tuple[Path, Path], seed: int) -> None:
    folder, _ = grown_copy
    generator = random.Random(seed)
    file = folder / FILES[seed % len(FILES)]
    content = bytearray(file.read_bytes())
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    file.write_bytes(content)
    assert not verify_cache(folder).ok


def lose(file: Path) -> None:
    file.unlink()


def spoil(file: Path) -> None:
    """Damage the middle, where a shard has its rows, a table its columns."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [lose, spoil])
@pytest.mark.parametrize("names", [[name] for name in FILES] + [
    SHARDS[:2], ["shards/00001.h5", "shards/00004.h5"], ["shards/00004.h5", "shards/00006.h5"],
    ["cache.json", "shards/00006.h5"], SHARDS, ["samples.parquet", "cache.json"],
], ids=str)  # fmt: skip
def test_any_damage_is_undone(
    grown_copy: tuple[Path, Path], tiny_backbone: Backbone, names: list[str],
    damage: Callable[[Path], None],
) -> None:  # fmt: skip
    folder, photos = grown_copy
    if {"cache.json", *SHARDS} <= {*names}:
        pytest.skip("nothing is left")
    before = Cache.open(folder)
    rows = np.arange(len(before))
    tokens = before.tokens(rows).astype(np.float32)
    state, paths = before.state, before.samples["path"]  # a reader reads tables when asked
    for name in names:
        damage(folder / name)
    repair_cache(folder, photos, backbone=tiny_backbone)
    assert verify_cache(folder).lines() == []
    after = Cache.open(folder)
    assert (after.identity, after.state) == (before.identity, state)
    assert after.samples["path"].equals(paths)
    np.testing.assert_allclose(after.tokens(rows), tokens, rtol=2e-3, atol=1e-3)
    assert repair_cache(folder, photos, backbone=tiny_backbone).changed is False


def test_a_lost_shard_needs_its_image_as_it_was(
    grown_copy: tuple[Path, Path], tiny_backbone: Backbone
) -> None:
    folder, photos = grown_copy
    (folder / "shards/00001.h5").unlink()
    shutil.copy(photos / "image_00.png", photos / "c.png")
    with pytest.raises(DatasetError, match=r"c\.png: the file has changed"):
        repair_cache(folder, photos, backbone=tiny_backbone)


def test_gone_images_are_not_exported(grown: tuple[Path, Path], tmp_path: Path) -> None:
    cache = Cache.open(grown[0])
    export_safetensors(grown[0], tmp_path / "st")
    table = read_table(tmp_path / "st/samples.parquet", SAMPLES_SCHEMA)
    assert set(table["status"].to_pylist()) == {"ok", "failed"}
    for sample in table.to_pylist():
        if sample["status"] == "ok":
            arrays = load_file(tmp_path / f"st/{sample['shard']:05d}.safetensors")
            (row,) = cache.rows([sample["sample_id"]])
            np.testing.assert_array_equal(
                arrays["tokens"][sample["row"], 0], cache.tokens([row])[0]
            )
            assert len(arrays["pooled"]) <= 3
    assert export_webdataset(grown[0], tmp_path / "wds").images == len(cache)

"""Caches and runs of version 1, as they were made before version 2: ``tests/data/version1``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xxhash

from featcache.maintenance.relabel import add_texts
from featcache.maintenance.repair import repair_cache
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache
from featcache.storage.fingerprint import digest
from featcache.storage.manifest import Manifest

if TYPE_CHECKING:
    from featcache.backbone import Backbone

VERSION1 = Path(__file__).parents[1] / "data" / "version1"
PHOTOS = VERSION1 / "photos"
TABLE = PHOTOS / "labels.csv"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the cache of version 1."""
    copy: Path = tmp_path / "old"
    shutil.copytree(VERSION1 / "cache", copy)
    return copy


@pytest.fixture(scope="module")
def demo_backbone() -> Backbone:
    """The backbone that made it."""
    from featcache.backbone import BackboneSpec, load_backbone

    asked = json.loads((VERSION1 / "cache/cache.json").read_text())["backbone"]
    return load_backbone(BackboneSpec.from_dict(asked))


def stated(cache: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((cache / "cache.json").read_text())
    return value


def test_it_is_read(old: Path) -> None:
    cache = Cache.open(old)
    assert stated(old)["schema_version"] == cache.manifest.schema_version == 1
    assert cache.fingerprint.digest == stated(old)["fingerprint_digest"]
    assert (len(cache), cache.samples.num_rows) == (14, 15)
    assert cache.tokens([13, 0]).shape == (2, 4, 192)
    assert cache.prompt(cache.prompts[0]).tokens.shape == (32, 192)
    assert cache.manifest.to_bytes() == (old / "cache.json").read_bytes()


def test_its_identity_follows_from_its_content(old: Path, tmp_path: Path) -> None:
    shutil.copytree(old, tmp_path / "copy")
    facts = stated(old)
    samples = xxhash.xxh3_128_hexdigest((old / "samples.parquet").read_bytes())
    expected = digest({"fingerprint": facts["fingerprint_digest"], "samples": samples})
    assert Cache.open(old).identity == Cache.open(tmp_path / "copy").identity == expected
    assert Cache.open(old).name == "table"


def test_it_is_verified(old: Path) -> None:
    assert verify_cache(old, root=PHOTOS).ok
    file = old / "shards/00001.h5"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert [damage.file for damage in verify_cache(old).damages] == ["shards/00001.h5"]


def test_what_is_written_is_version_2_with_the_same_identity(
    old: Path, demo_backbone: Backbone
) -> None:
    before = Cache.open(old)
    tokens = before.tokens(range(14))
    add_texts(old, ["a prompt of today."], lambda _: demo_backbone)
    after = Cache.open(old)
    assert stated(old)["schema_version"] == after.manifest.schema_version == 2
    assert (after.identity, after.name) == (before.identity, "table")
    assert after.fingerprint == before.fingerprint
    assert after.fingerprint.digest == before.fingerprint.digest
    assert "a prompt of today." in after.prompts
    np.testing.assert_array_equal(after.tokens(range(14)), tokens)
    assert verify_cache(old).ok


def test_damaged_shards_get_their_old_bytes(old: Path, demo_backbone: Backbone) -> None:
    identity = Cache.open(old).identity
    for number in (0, 2):
        (old / f"shards/0000{number}.h5").write_bytes(b"gone")
    report = repair_cache(old, PHOTOS, backbone=demo_backbone)
    assert report.remade == ("shards/00000.h5", "shards/00002.h5")
    assert report.different == ()
    for number in range(3):
        name = f"shards/0000{number}.h5"
        assert (old / name).read_bytes() == (VERSION1 / "cache" / name).read_bytes()
    assert verify_cache(old).ok
    assert Cache.open(old).identity == identity


def test_a_lost_manifest_is_rebuilt(old: Path) -> None:
    (old / "cache.json").unlink()
    repair_cache(old)
    assert verify_cache(old).ok
    manifest = Manifest.read(old)
    assert manifest.fingerprint == Manifest.read(VERSION1 / "cache").fingerprint
    assert len(Cache.open(old)) == 14

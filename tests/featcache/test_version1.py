"""Caches and runs of version 1, as they were made before version 2: ``tests/data/version1``."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from PIL import Image

from featcache.datasets import open_dataset
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.maintenance.compact import compact_cache
from featcache.maintenance.merge import merge_caches
from featcache.maintenance.relabel import add_texts
from featcache.maintenance.repair import repair_cache
from featcache.maintenance.verify import verify_cache
from featcache.reading.cache import Cache
from featcache.storage.entries import FileEntry, Part
from featcache.storage.fingerprint import digest
from featcache.storage.manifest import Manifest
from featcache.storage.tables import SAMPLES_SCHEMA, write_table

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
    tokens = Cache.open(old).tokens(range(14))
    for number in (0, 2):
        (old / f"shards/0000{number}.h5").write_bytes(b"gone")
    report = repair_cache(old, PHOTOS, backbone=demo_backbone)
    assert report.remade == ("shards/00000.h5", "shards/00002.h5")
    written_by = (2, 0, 0)  # another HDF5 library may lay out metadata in other bytes
    if h5py.version.hdf5_version_tuple == written_by:
        assert report.different == ()
        for number in range(3):
            name = f"shards/0000{number}.h5"
            assert (old / name).read_bytes() == (VERSION1 / "cache" / name).read_bytes()
    np.testing.assert_allclose(Cache.open(old).tokens(range(14)), tokens, atol=2e-3)
    assert verify_cache(old).ok
    assert Cache.open(old).identity == identity


def test_a_lost_manifest_is_rebuilt(old: Path) -> None:
    (old / "cache.json").unlink()
    repair_cache(old)
    assert verify_cache(old).ok
    manifest = Manifest.read(old)
    assert manifest.fingerprint == Manifest.read(VERSION1 / "cache").fingerprint
    assert len(Cache.open(old)) == 14


def test_it_grows(old: Path, tmp_path: Path, demo_backbone: Backbone) -> None:
    before = Cache.open(old)
    ids, tokens = before.sample_ids.to_pylist(), before.tokens(range(14), "hflip")
    photos = Path(shutil.copytree(PHOTOS, tmp_path / "photos"))
    (photos / "img/00.png").unlink()
    (photos / "img/01.png").rename(photos / "img/moved.png")
    Image.new("RGB", (40, 30), "olive").save(photos / "img/new.png")
    table = (photos / "labels.csv").read_text().replace("img/01.png", "img/moved.png")
    first = table.splitlines()[1]
    (photos / "labels.csv").write_text(table + first.replace("img/00.png", "img/new.png") + "\n")
    dataset = open_dataset("table", photos, **before.manifest.dataset["options"])
    config = ExtractConfig(views=before.views, shard_size=6)
    summary = extract(dataset, old, demo_backbone, config)
    # Version 1 did not record the content of images that failed.
    assert summary.growth == "1 new, 1 gone, 1 moved, 0 changed, 1 tried again"
    after = Cache.open(old)
    assert (after.identity, len(after)) == (before.identity, 14)
    assert after.fingerprint.digest == before.fingerprint.digest
    kept = [n for n, name in enumerate(ids) if name in after.sample_ids.to_pylist()]
    assert len(kept) == 12
    rows = after.rows([ids[n] for n in kept])
    np.testing.assert_array_equal(after.tokens(rows, "hflip"), tokens[kept])
    for number in range(3):
        name = f"shards/0000{number}.h5"
        assert (old / name).read_bytes() == (VERSION1 / "cache" / name).read_bytes()
    assert extract(dataset, old, demo_backbone, config).growth.startswith("0 new, 0 gone, 0 moved")
    state = Cache.open(old).state
    assert compact_cache(old).rows == 1
    assert verify_cache(old, root=photos).lines() == []
    assert Cache.open(old).state == state


def test_its_parts_are_merged(old: Path, tmp_path: Path) -> None:
    """Its shards, given out to two parts as version 1 would have made them."""
    facts = json.loads((old / "cache.json").read_text())
    shards = {name: entry for name, entry in facts["files"].items() if "rows" in entry}
    manifest = Manifest.read(old)
    for index in (1, 2):
        part = tmp_path / f"part{index}"
        (part / "shards").mkdir(parents=True)
        mine = [name for n, name in enumerate(sorted(shards)) if n % 2 == index - 1]
        names = [*mine, "labels.parquet", "prompts.h5"]
        for name in names:
            shutil.copy(old / name, part / name)
        numbers = [int(name[-8:-3]) for name in mine]
        samples = pq.read_table(old / "samples.parquet").to_pylist()
        theirs = [sample for n, sample in enumerate(samples) if n // 6 in numbers]
        write_table(part / "samples.parquet", pa.Table.from_pylist(theirs, SAMPLES_SCHEMA))
        files = {name: manifest.files[name] for name in names}
        files["samples.parquet"] = FileEntry.of(part / "samples.parquet")
        made = replace(manifest, part=Part(index=index, count=2, images=15), complete=False)
        (part / "cache.json").write_bytes(replace(made, files=files).to_bytes())
        assert stated(part)["schema_version"] == 1
        assert verify_cache(part).ok
    merge_caches([tmp_path / "part1", tmp_path / "part2"], tmp_path / "merged")
    merged = Cache.open(tmp_path / "merged")
    assert merged.manifest.schema_version == 2
    assert merged.state == Cache.open(old).state
    assert merged.identity != Cache.open(old).identity
    assert verify_cache(tmp_path / "merged").lines() == []

"""`featcache verify`, `repair`, `merge` and `export` from the outside."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

TINY = {
    "embed_dim": 6,
    "vision_cfg": {
        "image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8,
    },
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Images, a cache of them, and the two parts of it."""
    from featcache.backbone import BackboneSpec, load_backbone
    from featcache.datasets import open_dataset
    from featcache.extraction.extract import extract
    from featcache.extraction.plan import ExtractConfig

    folder = tmp_path_factory.mktemp("maintenance")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    (folder / "images").mkdir()
    generator = np.random.default_rng(0)
    for n in range(5):
        pixels = generator.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{n}.png")
    spec = BackboneSpec(model_config=str(folder / "tiny.json"), pretrained="seed:0")
    backbone, dataset = load_backbone(spec), open_dataset("folder", folder / "images")
    for name, part in {"cache": None, "part1": (1, 2), "part2": (2, 2)}.items():
        config = ExtractConfig(shard_size=2, workers=1, part=part)
        extract(dataset, folder / name, backbone, config)
    return folder


@pytest.fixture
def cache(made, tmp_path):
    return shutil.copytree(made / "cache", tmp_path / "cache")


def test_verify_and_repair(made, cache, featcache):
    assert featcache("verify", cache)[0] == 0
    shard = cache / "shards/00001.h5"
    content = bytearray(shard.read_bytes())
    content[content.index(b"2.png3.png")] ^= 1
    shard.write_bytes(content)
    assert featcache("verify", cache, "--quick")[0] == 0
    code, out, _ = featcache("verify", cache)
    assert code == 1
    assert "damaged: shards/00001.h5" in out
    assert "rows 0" in out
    report = json.loads(featcache("verify", cache, "--json")[1])
    assert not report["ok"]
    assert report["damages"][0]["rows"] == [0]
    code, out, err = featcache("repair", cache, "--root", made / "images", "--device", "cpu")
    assert code == 0, err
    assert "made again from its images: shards/00001.h5\n" in out
    assert featcache("verify", cache, "--root", made / "images")[0] == 0
    assert shard.read_bytes() == (made / "cache/shards/00001.h5").read_bytes()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--projection", "random:1", "projection"),
        ("--pretrained", "seed:1", "weights"),
        ("--model-config", "other.json", "architecture"),
    ],
)
def test_repair_with_another_backbone(made, cache, featcache, option, value, message):
    """What these options say is used, and refused where it makes other features."""
    other = {**TINY, "text_cfg": {**TINY["text_cfg"], "heads": 1}}
    (made / "other.json").write_text(json.dumps(other))
    (cache / "shards/00001.h5").unlink()
    value = made / value if value == "other.json" else value
    code, _, err = featcache("repair", cache, "--root", made / "images", option, value)
    assert code == 1
    assert message in err
    assert not (cache / "shards/00001.h5").exists()


def test_merge(made, tmp_path, featcache):
    code, _, err = featcache("merge", made / "part1", made / "part2", "--out", tmp_path / "merged")
    assert code == 0, err
    one, two = (
        json.loads((folder / "cache.json").read_text())
        for folder in (tmp_path / "merged", made / "cache")
    )
    assert one.pop("identity") != two.pop("identity")
    assert one.pop("digest") != two.pop("digest")
    assert one == two


@pytest.mark.parametrize("kind", ["safetensors", "webdataset"])
def test_export(made, tmp_path, featcache, kind):
    code, _, err = featcache("export", made / "cache", "--out", tmp_path / "out", "--format", kind)
    assert code == 0, err
    assert json.loads((tmp_path / "out/export.json").read_text())["format"] == kind


def test_an_unknown_format(made, tmp_path, featcache):
    code, _, err = featcache(
        "export", made / "cache", "--out", tmp_path / "out", "--format", "pickle"
    )
    assert code == 2
    assert "pickle" in err
    assert not (tmp_path / "out").exists()


def test_info_on_what_is_not_finished(made, cache, featcache):
    """How far it is, also while shards are being made, and which images failed so far."""
    from featcache.storage.manifest import Manifest

    Manifest.read(cache).unfinished(planned=6).write(cache)
    (cache / "shards/00002.h5").unlink()
    code, out, _ = featcache("info", cache, "--failures")
    assert code == 0
    assert "not finished" in out
    assert "4 of 6 planned, 0 failed" in out
    facts = json.loads(featcache("info", cache, "--json")[1])
    assert (facts["complete"], facts["images"], facts["shards"]) == (False, 4, 2)
    code, out, _ = featcache("info", made / "part1")
    assert code == 0
    assert "part 1/2, finished; `featcache merge`" in out


def test_failures_of_a_run_that_stopped_are_listed(made, tmp_path, featcache):
    images = shutil.copytree(made / "images", tmp_path / "images")
    (images / "1.png").write_bytes(b"")
    (images / "4.png").write_bytes(b"")
    command = (
        *("extract", "--dataset", "folder", "--root", images, "--out", tmp_path / "cache"),
        *("--model-config", made / "tiny.json", "--pretrained", "seed:0", "--shard-size", 2),
    )
    code, _, err = featcache(*command)
    assert code == 1
    assert "1.png: empty" in err
    assert "4.png: empty" in err
    code, out, _ = featcache("info", tmp_path / "cache", "--failures")
    assert code == 0
    assert "1.png" in out
    facts = json.loads(featcache("info", tmp_path / "cache", "--failures", "--json")[1])
    assert [failure["path"] for failure in facts["failures"]] == ["1.png"]
    assert facts["planned"] == 5
    assert featcache(*command, "--max-failures", 0.4)[0] == 0


def test_a_cache_follows_its_folder(made, cache, featcache, tmp_path):
    images = shutil.copytree(made / "images", tmp_path / "images")
    Image.new("RGB", (16, 16), "teal").save(images / "0_new.png")
    (images / "1.png").unlink()
    (images / "2.png").rename(images / "moved.png")
    asked = [
        *("extract", "--dataset", "folder", "--root", images, "--out", cache, "--shard-size", 2),
        *("--model-config", made / "tiny.json", "--pretrained", "seed:0"),
    ]
    plan = "1 new, 1 gone, 1 moved, 0 changed"
    before = (cache / "cache.json").read_bytes()
    code, out, told = featcache(*asked, "--dry-run")
    assert code == 0
    assert f"{cache}: {plan}" in out + told
    assert (cache / "cache.json").read_bytes() == before
    code, out, told = featcache(*asked)
    assert code == 0
    assert f"changes since the last time: {plan}" in out + told
    assert featcache("verify", cache, "--root", images)[0] == 0
    code, out, told = featcache("compact", cache)
    assert code == 0
    assert "1 removed image left out of 1 shard, " in out + told
    assert "nothing to free" in "".join(featcache("compact", cache)[1:])

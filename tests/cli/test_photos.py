"""Photos as people have them: profiles, phones, raw files; how their colors are read by default."""

from __future__ import annotations

import io

import pillow_heif
import pytest
from PIL import Image

from featcache import Cache

BACKBONE = ("--backbone", "drawn-scenes-clip", "--device", "cpu")


@pytest.fixture
def photos(tmp_path, make_icc, make_dng):
    """Display P3 and plain, of a phone, raw, and raw beside its JPEG."""
    folder = tmp_path / "photos"
    folder.mkdir()
    green = Image.new("RGB", (64, 48), (60, 200, 90))
    green.save(folder / "p3.jpg", icc_profile=make_icc())
    green.save(folder / "plain.jpg")
    file = io.BytesIO()
    pillow_heif.from_pillow(green).save(file)
    (folder / "phone.heic").write_bytes(file.getvalue())
    (folder / "raw.dng").write_bytes(make_dng())
    (folder / "plain.dng").write_bytes(make_dng())
    return folder


def pooled(folder):
    cache = Cache.open(folder)
    found = cache.pooled(range(len(cache)))
    return dict(zip(cache.sample_ids.to_pylist(), found, strict=True))


def color(folder):
    return Cache.open(folder).fingerprint.preprocessing.get("color")


def test_folders_are_read_in_srgb_and_data_sets_as_stored(featcache, photos, tmp_path):
    def extract(out, *options, dataset="folder"):
        words = ("extract", "--dataset", dataset, "--root", photos, "--out", tmp_path / out)
        return featcache(*words, *BACKBONE, *options)

    code, _, err = extract("managed")
    assert code == 0, err
    assert "1 raw files stand beside a JPEG" in " ".join(err.split())
    managed = pooled(tmp_path / "managed")
    assert sorted(managed) == ["p3.jpg", "phone.heic", "plain.jpg", "raw.dng"]
    assert color(tmp_path / "managed") == "srgb"

    code, _, err = extract("stored", "--color", "stored", "--pairs", "separate")
    assert code == 0, err
    stored = pooled(tmp_path / "stored")
    assert (len(stored), color(tmp_path / "stored")) == (5, None)
    assert abs(managed["p3.jpg"] - stored["p3.jpg"]).max() > 1e-3
    assert (managed["plain.jpg"] == stored["plain.jpg"]).all()

    # A cache goes on as it was begun, unless it is told otherwise.
    code, _, err = extract("stored")
    assert code == 0, err
    assert color(tmp_path / "stored") is None
    code, _, err = extract("stored", "--color", "srgb")
    assert code == 1
    assert "preprocessing.color: None and 'srgb'" in err

    (photos / "table.csv").write_text("path,query,value\nplain.jpg,a query,1\np3.jpg,a query,2\n")
    code, _, err = extract("table", "--option", "table=table.csv", dataset="table")
    assert code == 0, err
    assert color(tmp_path / "table") is None
    code, _, err = extract("table", "--pairs", "merge", dataset="table")
    assert code != 0
    assert "table has no option 'pairs'" in err


def test_the_first_ranking_needs_no_run(adapter, photos, tmp_path):
    words = ("rank", "--images", photos, "--antonyms", "Bright photo.", "Dark photo.", *BACKBONE)
    code, found, err = adapter(*words, "--keep", tmp_path / "kept")
    assert code == 0, err
    assert {line.split(",")[1] for line in found.splitlines()[1:]} >= {"phone.heic", "raw.dng"}
    assert color(tmp_path / "kept") == "srgb"
    code, _, err = adapter(*words, "--keep", tmp_path / "kept", "--color", "stored")
    assert code == 1
    assert "preprocessing.color" in err
    code, _, err = adapter("rank", "--shards", tmp_path / "kept", "--pairs", "merge",
                           "--attribute", "quality")  # fmt: skip
    assert "are for --images" in err

"""Rankings and reports as files: whole or not at all, in UTF-8, refused before the work."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

VERSION1 = Path(__file__).parents[1] / "data" / "version1"
BACKBONE = ["--backbone", "demo-seeded-vit", "--pretrained", "seed:0"]


@pytest.fixture
def run(tmp_path):
    """A finished run; its cache is in the folder beside it."""
    return Path(shutil.copytree(VERSION1 / "run", tmp_path / "run"))


@pytest.fixture
def query(run):
    return json.loads((run / "eval.json").read_text())["queries"][0]["query"]


def test_standard_output_is_the_table(adapter, run, query):
    code, out, err = adapter("rank", run, "--shards", VERSION1 / "cache", "--query", query)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "place,path,score"
    assert len(lines) == 15
    assert "broken.png" in err
    assert "ranking: 0 of 14 images" in err


@pytest.mark.parametrize("name", ["new/folder/ranked.csv", "ranked.html"])
def test_a_ranking_is_one_whole_file(adapter, run, query, tmp_path, name):
    target = tmp_path / name
    pictures = ["--root", VERSION1 / "photos"]
    arguments = ["--shards", VERSION1 / "cache", "--query", query, "--out", target]
    code, out, err = adapter("rank", run, *arguments, *pictures)
    assert code == 0, err
    assert out == ""
    assert f"14 images ranked; written to {target}" in err
    text = target.read_text("utf-8")
    assert text.count("data:image/jpeg") == (14 if name.endswith("html") else 0)
    assert [file.name for file in target.parent.iterdir() if "tmp" in file.name] == []


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("rank", ["--query", "x", "--shards", "missing", "--out", "file/ranked.html"]),
        ("rank", ["--query", "x", "--images", ".", "--keep", "file/cache"]),
        ("report", ["--out", "file/report.html"]),
    ],
)
def test_a_place_that_cannot_be_written_is_found_first(
    adapter, run, tmp_path, monkeypatch, command, options
):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("a file where a folder should be")
    monkeypatch.setattr("adapter.run.Run.load", lambda _: pytest.fail("worked first"))

    code, _, err = adapter(command, run, *options)
    assert code == 1
    assert "could not be written" in err
    assert "file" in err


def test_no_readable_image_is_a_sentence(adapter, featcache, run, query, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "broken.jpg").write_bytes(b"no image")
    arguments = ["--dataset", "folder", "--root", photos, "--out", tmp_path / "cache"]
    code, _, err = featcache(
        "extract", *arguments, *BACKBONE, "--token-pool", 4, "--max-failures", 1, "--prompt", query
    )
    assert code == 0, err
    code, _, err = adapter("rank", run, "--shards", tmp_path / "cache", "--query", query)
    assert code == 1
    assert "holds no image that could be read" in err
    assert "error in the program" not in err


def test_names_of_any_language_whatever_the_locale(run, query, tmp_path):
    """Files and pipes are UTF-8 in the C locale too."""
    photos = tmp_path / "photos"
    photos.mkdir()
    name = "été 図.png"
    Image.new("RGB", (64, 48), "teal").save(photos / name)
    options = ["--images", photos, "--query", query]
    command = [sys.executable, "-m", "cli.adapter", "rank", run, *options]
    settings = {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"}
    for target in ("ranked.html", None):
        more = ["--out", tmp_path / target] if target else []
        done = subprocess.run(
            list(map(str, [*command, *more])),
            capture_output=True,
            check=False,
            env={**os.environ, **settings},
        )
        assert done.returncode == 0, done.stderr
        written = (tmp_path / target).read_bytes() if target else done.stdout
        assert name in written.decode("utf-8")


def test_the_report_says_how_to_rank(adapter, run, tmp_path):
    options = ["--shards", VERSION1 / "cache", "--root", VERSION1 / "photos"]
    code, _, err = adapter("report", run, *options)
    assert code == 0, err
    words = shlex.split(err.splitlines()[-1].removeprefix("next: "))
    assert words[:3] == ["adapter", "rank", str(run)]
    code, _, err = adapter(*words[1:])
    assert code == 0, err
    assert (run / "ranked.html").read_text("utf-8").count("data:image/jpeg") == 14


def test_the_preset_best_trains_and_ranks(adapter, query, tmp_path):
    out, cache = tmp_path / "best", VERSION1 / "cache"
    options = ["--steps", 2, "--width", 16, "--batch-size", 4, "--set", "model.heads=2"]
    code, _, err = adapter(
        *("train", "--shards", cache, "--out", out, "--preset", "best", *options),
        *("--set", "model.relation_heads=2", "--query", query),
    )
    assert code == 0, err
    assert "adapter 1 of 4, without part 1 of the images" in err
    assert (out / "stack.json").exists()
    for by in ("score", "comparison"):
        code, table, err = adapter("rank", out, "--shards", cache, "--query", query, "--by", by)
        assert code == 0, err
        assert len(table.splitlines()) == 15
    code, _, err = adapter("report", out, "--split", "train,test")
    assert code == 0, err
    found = json.loads((out / "report.json").read_text("utf-8"))
    for name in ("adapter, score", "both, score", "both, by comparison"):
        assert name in found["mean"]
    assert "both together" in found["lead"]
    assert [each["method"].split(",")[0] for each in found["margins"]] == ["both", "adapter"]
    assert all(each["other"].startswith("ridge") for each in found["margins"])
    assert all(each["low"] <= each["difference"] <= each["high"] for each in found["margins"])
    assert found["lead"].count("95 % interval") == 2

"""What `adapter rank` does to files, and that it is undone."""

import json
import shutil
from pathlib import Path

import pytest

VERSION1 = Path(__file__).parents[1] / "data" / "version1"


@pytest.fixture
def words(tmp_path):
    """The words that rank a cache whose photos are in a folder of their own."""
    run = Path(shutil.copytree(VERSION1 / "run", tmp_path / "run"))
    shutil.copytree(VERSION1 / "photos", tmp_path / "photos")
    queries = [q["query"] for q in json.loads((run / "eval.json").read_text())["queries"]]
    both = [word for query in queries[:2] for word in ("--query", query)]
    return ["rank", run, "--shards", VERSION1 / "cache", "--root", tmp_path / "photos", *both]


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_two_wishes_go_into_a_folder_and_sidecars_and_back(adapter, words, tmp_path):
    before = files(tmp_path / "photos")
    log = tmp_path / "log.jsonl"
    wishes = ["--weight", 0.7, "--weight", "-0.3", "--top", 5, "--stars", "5:80,3:40"]
    options = [*wishes, "--copy", tmp_path / "best", "--xmp", "--keyword", "best", "--log", log]
    code, out, err = adapter(*words, *options, "--dry-run")
    assert code == 0, err
    assert (out, files(tmp_path / "photos")) == ("", before)
    assert not (tmp_path / "best").exists()
    assert "copy: 5 files" in err
    assert "new sidecars: 5" in err

    table = tmp_path / "order.json"
    code, _, err = adapter(*words, *options, "--out", table)
    assert code == 0, err
    rows = json.loads(table.read_text("utf-8"))
    assert len(rows) == 5
    assert rows[0]["stars"] == 5
    known = ("place", "path", "score", "stars")
    shares = [value for name, value in rows[0].items() if name not in known]
    assert sum(shares) == pytest.approx(rows[0]["score"])
    names = [p.split("_", 1)[1] for p in files(tmp_path / "best")]
    assert names == [Path(row["path"]).name for row in rows]
    assert f"adapter undo {log}" in err
    assert len(files(tmp_path / "photos")) == len(before) + 5

    code, _, err = adapter("undo", log)
    assert code == 0, err
    assert "11 actions undone" in err
    assert files(tmp_path / "photos") == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--link", "a", "--copy", "b"], "one of --link"),
        (["--xmp"], "give one"),
        (["--label", "Red"], "--xmp sidecars"),
        (["--top", "0"], "at least 1"),
        (["--weight", "1"], "1 weight for 2 wishes"),
        (["--weight", "2", "--weight", "1"], "from -1 to 1"),
        (["--stars", "9:1"], "ratings go from"),
        (["--sidecar", "x"], "full"),
        (["--combine", "sum"], "percentile"),
        (["--move", "x"], "must be confirmed"),
    ],
)
def test_what_makes_no_sense_is_refused(adapter, words, options, message):
    code, _, err = adapter(*words, *options)
    assert code in (1, 2)
    assert message in err


def test_why_is_a_page_of_maps(adapter, words, tmp_path):
    page = tmp_path / "why.html"
    photos = sorted((VERSION1 / "photos").rglob("*.png"))
    names = [str(p.relative_to(VERSION1 / "photos")) for p in photos if "broken" not in p.name]
    code, _, err = adapter(*words, "--why", names[0], "--out", page)
    assert code == 0, err
    assert page.read_text("utf-8").count("data:image/jpeg") == 2
    code, _, err = adapter(*words, "--why", names[0], "--why", names[1], "--out", page)
    assert code == 0, err
    text = page.read_text("utf-8")
    assert text.count("data:image/jpeg") == 2
    assert "In the comparison, " in text
    code, _, err = adapter(*words, "--why", "nothing.jpg", "--out", page)
    assert (code, "give the image's path below" in err) == (1, True)
    code, _, err = adapter(*words, "--why", names[0])
    assert (code, "needs --out" in err) == (1, True)

"""Commands as they are given, without folders: where they look, what they make, what comes next."""

import json
import shlex
import shutil
from pathlib import Path

import pytest

from cli.extract import DRAWN
from featcache.reading.cache import Cache

SMALL = ["--steps", "2", "--width", "16", "--set", "model.prompt_tokens=2"]


def next_command(err):
    """The command that the messages say comes next, as its words."""
    line = next(line for line in err.splitlines() if line.startswith("next: "))
    return shlex.split(line.removeprefix("next: "))


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty folder to work in; no folder of data is named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEATCACHE_DATA", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(made, empty, featcache):
    """A cache of drawn scenes in ``cache/demo``, extracted once."""
    if not (made / "demo").exists():
        code, _, err = featcache("extract", "--dataset", "demo", "--option", "count=24")
        assert code == 0, err
        shutil.copytree("cache/demo", made / "demo")
        shutil.move("data", made / "data")
        (made / "messages").write_text(err)
    else:
        shutil.copytree(made / "demo", "cache/demo")
    return Path("cache/demo")


def test_the_demo_needs_no_option(cache, made):
    err = (made / "messages").read_text()
    assert "data in data/demo (looked at data/demo" in err
    assert next_command(err) == ["adapter", "train", "--shards", "cache/demo", *DRAWN]
    manifest = Cache.open(cache).manifest
    assert (manifest.backbone["name"], manifest.backbone["token_pool"]) == ("drawn-scenes-clip", 1)
    assert manifest.fingerprint.views == ("original", "hflip")


def test_the_demo_is_trained_as_make_trains_it():
    text = (Path(__file__).parents[2] / "Makefile").read_text().replace("\\\n", " ")
    line = next(line for line in text.splitlines() if "$(BIN)/adapter train" in line)
    assert shlex.split(line)[-len(DRAWN) :] == DRAWN


def test_an_option_for_the_backbone_sets_aside_that_of_the_data_set(empty, featcache):
    options = ["--option", "count=2", "--backbone", "demo-seeded-vit", "--pretrained", "seed:1"]
    code, _, err = featcache("extract", "--dataset", "demo", *options)
    assert code == 0, err
    manifest = Cache.open("cache/demo").manifest
    assert (manifest.backbone["pretrained"], manifest.backbone["token_pool"]) == ("seed:1", 1)
    assert manifest.fingerprint.views == ("original",)


@pytest.mark.parametrize("named", ["", "elsewhere"])
def test_a_data_set_that_is_not_there(empty, featcache, monkeypatch, named):
    monkeypatch.setenv("FEATCACHE_DATA", named)
    code, _, err = featcache("extract", "--dataset", "ava")
    assert code == 1
    assert "looked at elsewhere/ava and data/ava" in err if named else "looked at data/ava;" in err
    for fact in ("Expected layout", "AVA.txt", "AVA_dataset repository"):
        assert fact in err
    assert not Path("cache").exists()


def test_the_first_complete_folder_counts(empty, featcache, monkeypatch):
    monkeypatch.setenv("FEATCACHE_DATA", "other")
    Path("other/hci").mkdir(parents=True)
    Path("data/hci").mkdir(parents=True)
    code, _, err = featcache("extract", "--dataset", "hci")
    assert code == 1
    assert "data in other/hci (looked at other/hci and data/hci)" in err
    assert "below other/hci" in err


def test_images_of_the_user_need_a_folder(empty, featcache):
    code, _, err = featcache("extract", "--dataset", "folder")
    assert code == 2
    assert "needs --root" in " ".join(err.split())


def test_runs_get_names_of_their_caches(cache, adapter, made):
    code, _, err = adapter("train", "--shards", cache, *SMALL)
    assert code == 0, err
    assert "the run goes to runs/demo\n" in err
    assert next_command(err) == ["adapter", "eval", "runs/demo"]
    code, _, err = adapter("train", "--shards", cache, *SMALL)
    assert code == 0, err
    assert "the run goes to runs/demo-2; runs/demo is taken" in err
    code, _, err = adapter("train", "--shards", cache, *SMALL, "--resume")
    assert code == 1
    assert "nothing to go on with: runs/demo, runs/demo-2 are finished" in err
    record = json.loads(Path("runs/demo/run.json").read_text())
    record["outcome"]["interrupted"] = True
    Path("runs/demo/run.json").write_text(json.dumps(record))
    code, _, err = adapter("train", "--shards", cache, *SMALL, "--resume")
    assert "going on with runs/demo\n" in err
    code, _, err = adapter("eval", "runs/demo-2")
    assert code == 0, err
    assert next_command(err) == ["adapter", "report", "runs/demo-2"]
    shutil.copytree(made / "data", "data")  # where the images should be
    code, _, err = adapter("eval", "runs/demo-2")
    assert next_command(err) == ["adapter", "report", "runs/demo-2", "--root", "data/demo"]


def test_a_sweep_that_is_not_finished_goes_on(cache, adapter):
    arguments = ["train", "--shards", cache, *SMALL, "--seeds", "0,1"]
    code, _, err = adapter(*arguments, "--resume")
    assert code == 0, err
    assert "the run goes to runs/demo\n" in err
    summary = Path("runs/demo/many.json")
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "interrupted": True}))
    code, _, err = adapter(*arguments, "--resume")
    assert code == 0, err
    assert "going on with runs/demo\n" in err
    assert next_command(err) == ["adapter", "report", "runs/demo/seed-0"]


def test_processes_of_torchrun_need_a_folder(cache, adapter, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = adapter("train", "--shards", cache)
    assert code == 2
    assert "--out is needed with torchrun" in " ".join(err.split())


def test_table1_without_data_says_what_to_get(empty, adapter):
    code, out, err = adapter("reproduce", "table1", "--device", "cpu")
    assert code == 3
    assert "data sets from data; caches, cells and tables in runs/table1" in err
    for fact in ("Tal Hassner", "put it into data/adience", "decade_database"):
        assert fact in err
    assert "runs/table1/results/table1.md" in out

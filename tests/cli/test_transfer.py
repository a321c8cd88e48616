"""`featcache copy`, `verify URL`, `card`; `adapter publish` and `rank URL`; who works."""

import shutil
from pathlib import Path

import fsspec
import pytest

VERSION1 = Path(__file__).parents[1] / "data" / "version1"
CACHE = VERSION1 / "cache"


@pytest.fixture(autouse=True)
def memory(monkeypatch, tmp_path):
    """The file system in memory, empty; what is fetched is kept in this test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def test_a_cache_goes_there_and_is_checked_there(featcache, memory, tmp_path):
    code, _, err = featcache("copy", CACHE, "memory://c/one")
    assert code == 0, err
    assert "every one was read back and compared" in err
    assert "next: featcache verify memory://c/one" in err
    code, _, err = featcache("verify", "memory://c/one")
    assert code == 0
    assert "intact" in err
    name = next(name for name in memory.store if name.endswith("labels.parquet"))
    memory.pipe_file(name, memory.cat_file(name)[:-1])
    code, out, err = featcache("verify", "memory://c/one")
    assert code == 1
    assert "damaged: labels.parquet" in out
    assert "next: featcache copy CACHE memory://c/one" in err
    code, _, err = featcache("copy", CACHE, "memory://c/two", "--shards", "0-0")
    assert code == 0
    assert "for the other shards" in err
    code, _, err = featcache("copy", CACHE, "memory://c/two", "--shards", "all")
    assert code == 2


def test_a_command_for_folders_says_to_copy_first(featcache):
    code, _, err = featcache("prompts", "s3://bucket/ava")
    assert code == 1
    assert "featcache copy s3://bucket/ava cache/ava" in err


def test_the_card_of_a_cache(featcache, tmp_path):
    code, out, _ = featcache("card", CACHE)
    assert code == 0
    assert out.startswith("---\npretty_name:")
    assert "| task | query | images | values |" in out
    code, _, _ = featcache("card", CACHE, "--out", tmp_path / "README.md")
    assert code == 0
    assert (tmp_path / "README.md").read_text() == out


def test_a_run_is_published_and_ranks(adapter, tmp_path):
    run = shutil.copytree(VERSION1 / "run", tmp_path / "run")
    code, _, err = adapter("publish", run, "memory://r/ages")
    assert code == 0, err
    assert "its card is README.md" in err
    from adapter.stored import StoredRun

    query = StoredRun.load(run).queries[0]
    order = ["--shards", CACHE, "--query", query]
    code, here, err = adapter("rank", run, *order)
    assert code == 0, err
    code, there, err = adapter("rank", "memory://r/ages", *order)
    assert code == 0, err
    assert there == here
    code, _, err = adapter("rank", "memory://r/nothing", *order)
    assert code == 1
    assert "no published run" in err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--engine", "spark"], "expected local or ray"),
        (["--actors", "2"], "--actors is for workers of Ray: give --engine ray"),
        (["--engine", "ray", "--gpus-per-actor", "1.5"], "a share of one GPU or a whole number"),
    ],
)
def test_who_works_is_checked(featcache, options, told):
    code, _, err = featcache("extract", "--dataset", "demo", *options)
    assert code in (1, 2)
    assert told in " ".join(err.replace("│", " ").split())


def test_several_runs_are_what_ray_is_for(adapter):
    code, _, err = adapter("train", "--shards", CACHE, "--engine", "ray", "--out", "nowhere")
    assert code == 2
    assert "give --seeds or --folds" in " ".join(err.replace("│", " ").split())

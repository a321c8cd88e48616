"""Runs that are published, fetched, and the card that goes with them."""

import json
import shutil
from pathlib import Path

import fsspec
import pytest

from adapter.errors import CheckpointError, CheckpointNotFoundError
from adapter.publishing.card import interval
from adapter.publishing.publish import LISTING, fetch, publish
from adapter.run import Run
from adapter.stored import StoredRun
from featcache.errors import TransferError
from featcache.transfer import store as storing

PLACE = "memory://runs/ages"
VERSION1 = Path(__file__).parents[2] / "data" / "version1"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Fetched runs are kept here, and nobody waits."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(storing, "PAUSE", 0.0)


@pytest.fixture
def run_folder(tmp_path):
    """A copy of a run."""
    return shutil.copytree(VERSION1 / "run", tmp_path / "run")


@pytest.fixture
def memory():
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def test_what_is_fetched_is_what_was_published(run_folder, memory, tmp_path):
    files = publish(run_folder, PLACE)
    assert {"README.md", "run.json", "adapter.safetensors", LISTING} <= files.keys()
    folder = fetch(PLACE)
    assert folder == fetch(PLACE)  # kept
    for name in ("adapter.safetensors", "adapter.json"):
        assert (folder / name).read_bytes() == (run_folder / name).read_bytes()
    there, here = Run.load(PLACE), StoredRun.load(run_folder)
    assert there.queries == here.queries
    assert there.record["settings"] == here.record["settings"]
    assert all("/" not in shard["path"] for shard in there.record["shards"])


def test_the_card_says_what_one_must_know(run_folder, memory):
    evaluation = {
        "run": "/home/me/run",
        "split": ["test"],
        "queries": [
            {"dataset": "d", "query": "a | b", "n": 103, "metrics": {"score": {"srcc": 0.5}}}
        ],
    }
    (run_folder / "eval.json").write_text(json.dumps(evaluation))
    publish(run_folder, PLACE)
    card = memory.cat_file("/runs/ages/README.md").decode()
    assert card.startswith("---\nlibrary_name: featcache\n")
    assert "| d | a \\| b | score | 103 | 0.500 | 0.334 to 0.636 | – |" in card
    assert f"adapter rank {PLACE} --images" in card
    assert StoredRun.load(run_folder).fingerprint.digest in card
    assert b"/home/me" not in memory.cat_file("/runs/ages/eval.json")


def test_damage_is_not_accepted(run_folder, memory):
    publish(run_folder, PLACE)
    content = bytearray(memory.cat_file("/runs/ages/adapter.safetensors"))
    content[-1] ^= 1
    memory.pipe_file("/runs/ages/adapter.safetensors", bytes(content))
    with pytest.raises(TransferError, match=r"adapter.safetensors could not be fetched: it is not"):
        fetch(PLACE)
    listing = json.loads(memory.cat_file(f"/runs/ages/{LISTING}"))
    listing["files"]["../../evil"] = listing["files"]["run.json"]
    memory.pipe_file(f"/runs/ages/{LISTING}", json.dumps(listing).encode())
    with pytest.raises(CheckpointError, match="not the list of a run"):
        fetch(PLACE)
    memory.rm_file(f"/runs/ages/{LISTING}")
    with pytest.raises(CheckpointNotFoundError, match="no published run"):
        fetch(PLACE)


def test_intervals():
    low, high = interval(0.5, 103)
    assert (round(low, 3), round(high, 3)) == (0.334, 0.636)
    assert interval(0.5, 3) is None
    assert interval(1.0, 50)[1] <= 1.0

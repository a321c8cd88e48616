"""A real Ray cluster of several nodes on this machine: kills, losses, freezes, full disks.

Each run ends with the files of one process, or with the error that is promised.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from PIL import Image

from featcache.datasets import open_dataset
from featcache.distributed import ray_fleet
from featcache.distributed.engine import RayEngine
from featcache.distributed.settings import ClusterConfig
from featcache.errors import CacheLockedError, DiskSpaceError, WorkersError
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.maintenance.verify import verify_cache
from featcache.storage.lock import writing

pytestmark = pytest.mark.slow

IMAGES = 120
SETTINGS = {"batch_size": 2, "workers": 1, "shard_size": 2}
CONFIG = ExtractConfig(**SETTINGS)
KILLS = 50
NODE = {"object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos that take a few hundredths of a second each."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for n in range(IMAGES):
        pixels = generator.integers(0, 256, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).resize((1600, 1200)).save(root / f"{n:03d}.jpg", quality=95)
    return root


@pytest.fixture(scope="module")
def dataset(photos):
    return open_dataset("folder", photos)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, dataset, tiny_backbone, contents):
    out = tmp_path_factory.mktemp("expected") / "c"
    extract(dataset, out, tiny_backbone, CONFIG)
    return contents(out)


@pytest.fixture
def fleets(monkeypatch):
    """The fleets of the test's runs, the last one last."""
    found = []

    class Watched(ray_fleet.RayFleet):
        def __init__(self, *given):
            super().__init__(*given)
            found.append(self)

    monkeypatch.setattr(ray_fleet, "RayFleet", Watched)
    return found


@pytest.fixture
def start(tmp_path, dataset, tiny_backbone):
    """Return a function: extract on the cluster, with what is to happen after each event."""

    def run(after=lambda _: None, out=None, **cluster):
        settings = {"actors": 2, "cpus_per_actor": 1, "patience": 30.0} | cluster
        engine = RayEngine(cluster=ClusterConfig(**settings))
        return extract(dataset, out or tmp_path / "c", tiny_backbone, CONFIG, after, engine)

    return run


def test_a_node_goes_and_another_comes(cluster, start, fleets, tmp_path, contents, expected):
    node, changes = cluster.add_node(num_cpus=2, **NODE), Counter()

    def change(event):
        if event.kind == "shard":
            changes["shards"] += 1
            if changes["shards"] == 8:
                cluster.remove_node(node, allow_graceful=False)
            if changes["shards"] == 16:
                changes["node"] = 1
                start.added = cluster.add_node(num_cpus=2, **NODE)

    start(change, actors=4)
    cluster.remove_node(start.added)
    assert changes["node"]
    assert contents(tmp_path / "c") == expected


def test_a_frozen_worker_is_replaced(cluster, start, fleets, tmp_path, contents, expected):
    frozen, retried = [], []

    def freeze(event):
        if event.kind == "shard" and not frozen:
            frozen.append(fleets[-1]._places[0][1])
            os.kill(frozen[0], signal.SIGSTOP)
        retried.append(event.retried)

    start(freeze, patience=10.0)
    assert contents(tmp_path / "c") == expected
    assert max(retried) >= 1
    with pytest.raises(ProcessLookupError):
        os.kill(frozen[0], 0)


def test_a_killed_driver_goes_on(cluster, photos, tiny_config, tmp_path, contents, expected):
    command = [
        *(sys.executable, "-m", "cli.featcache", "extract", "--dataset", "folder"),
        *("--root", photos, "--out", tmp_path / "c", "--model-config", tiny_config),
        *("--pretrained", "seed:0", "--color", "stored", "--batch-size", 2, "--workers", 1),
        *("--shard-size", 2),
        *("--engine", "ray", "--address", cluster.address, "--actors", 2, "--cpus-per-actor", 1),
    ]
    command = list(map(str, command))
    for shards in (3, 20):
        driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while len(list((tmp_path / "c/shards").glob("*.h5"))) < shards:
            assert driver.poll() is None
            time.sleep(0.05)
        driver.kill()
        driver.wait()
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(list((tmp_path / "c/shards").glob("*.h5"))) < 25:
        time.sleep(0.05)
    driver.send_signal(signal.SIGTERM)  # this one finishes what is under way
    _, told = driver.communicate()
    assert driver.returncode == 130, told
    assert "run the same command again to go on" in told
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "going on:" in done.stderr
    found, wanted = contents(tmp_path / "c"), dict(expected)
    for files in (found, wanted):  # how the backbone was asked for is in cache.json and shards
        files.pop("cache.json")
    assert found == wanted


def test_a_full_disk_is_told_and_the_same_command_goes_on(
    cluster, start, tmp_path, contents, expected
):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", small], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount: {mounted.stderr.strip()}")
    try:
        filler = small / "filler"

        def fill(event):
            if event.kind == "shard" and not filler.exists():
                filler.write_bytes(bytes(shutil.disk_usage(small).free))

        with pytest.raises(DiskSpaceError, match="No space left"):
            start(fill, out=small / "c")
        assert not list((small / "c").rglob("*.tmp"))
        filler.unlink()
        start(out=small / "c")
        assert contents(small / "c") == expected
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_node_that_sees_another_folder_ends_the_run(cluster, tmp_path, start, monkeypatch):
    # A worker whose folder is another one: under the same path, in its own view of the disk.
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "shards").mkdir(parents=True)
    real = ray_fleet.RayFleet.__init__

    def misled(self, tools, place, challenge):
        real(self, replace(tools, out=elsewhere), place, challenge)

    monkeypatch.setattr(ray_fleet.RayFleet, "__init__", misled)
    with pytest.raises(WorkersError, match=r"does not see this machine's .*: mount the same"):
        start()
    assert not list((tmp_path / "c/shards").iterdir())
    assert not list((elsewhere / "shards").iterdir())


def test_two_drivers_on_one_cache(cluster, start, tmp_path):
    (tmp_path / "c").mkdir()
    with writing(tmp_path / "c"), pytest.raises(CacheLockedError, match=f"process {os.getpid()}"):
        start()


@pytest.mark.parametrize("seed", range(5))
def test_random_kills_lose_nothing(cluster, start, fleets, tmp_path, contents, expected, seed):
    chance, killed = random.Random(seed), []

    def kill(event):
        # At each event, and there are at least two in a second, whatever a worker is doing.
        if len(killed) < KILLS // 5 and fleets and chance.random() < 0.2:
            places = [*fleets[-1]._places.values()]
            if places:
                killed.append(chance.choice(places)[1])
                os.kill(killed[-1], signal.SIGKILL)

    for number in count():  # as many extractions as it takes
        out = tmp_path / f"c{number}"
        for _ in range(20):
            try:
                start(kill, out=out)
                break
            except (WorkersError, ProcessLookupError):
                continue  # three on one shard, by chance: the same command goes on
        assert contents(out) == expected
        assert verify_cache(out).ok
        assert not list(out.rglob("*.tmp"))
        if len(killed) >= KILLS // 5:
            break

"""Ray itself, briefly: real actors, one of which is killed. More is in test_ray_cluster.py."""

import importlib
import os
import signal
import subprocess
import sys

import pytest

from featcache.distributed import ray_fleet
from featcache.distributed.engine import RayEngine
from featcache.distributed.settings import ClusterConfig
from featcache.errors import ConfigError
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig

CONFIG = ExtractConfig(batch_size=2, workers=1, shard_size=1, max_failures=1.0)
TWO = ClusterConfig(actors=2, cpus_per_actor=1)


def test_a_killed_actor_costs_nothing_but_time(
    tmp_path, image_dataset, tiny_backbone, contents, ray, monkeypatch
):
    fleets = []

    class Watched(ray_fleet.RayFleet):
        def __init__(self, *given):
            super().__init__(*given)
            fleets.append(self)

    monkeypatch.setattr(ray_fleet, "RayFleet", Watched)
    killed = []

    def kill(event):
        if event.kind == "shard" and not killed:
            killed.append(fleets[0]._places[0][1])
            os.kill(killed[0], signal.SIGKILL)

    extract(image_dataset, tmp_path / "one", tiny_backbone, CONFIG)
    summary = extract(
        image_dataset, tmp_path / "ray", tiny_backbone, CONFIG, kill, RayEngine(cluster=TWO)
    )
    assert killed
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")
    assert (summary.images, summary.failed) == (8, 2)
    assert len(summary.rates) == 1  # two actors of one machine


def test_what_does_not_fit_is_told(ray):
    with pytest.raises(ConfigError, match="no machine of the cluster has 0 GPUs and 999 proc"):
        ray_fleet.room(ClusterConfig(cpus_per_actor=999))


def test_without_ray_the_command_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'featcache\[ray\]'"):
        importlib.reload(ray_fleet)
    monkeypatch.undo()
    importlib.reload(ray_fleet)


def test_nothing_else_imports_ray():
    code = (
        "import sys, featcache, adapter, cli.featcache, cli.extract, featcache.distributed.engine; "
        "assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Several runs as tasks of Ray: the files of one after the other."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = ["--dataset", "demo", "--option", "count=40", "--backbone", "demo-seeded-vit"]
DEMO += ["--pretrained", "seed:0", "--token-pool", "4"]
STEPS = ["--steps", "60", "--width", "8", "--batch-size", "8", "--set", "model.blocks=1"]


def command(program, *arguments):
    return [sys.executable, "-m", f"cli.{program}", *map(str, arguments)]


def workers():
    """Processes of Ray that train now."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::_train_one"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_seeds_side_by_side_whose_workers_are_killed(tmp_path):
    made = subprocess.run(
        command("featcache", "extract", "--root", tmp_path / "i", "--out", tmp_path / "c", *DEMO),
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    common = ["train", "--shards", tmp_path / "c", "--seeds", "0,1,2", *STEPS]
    one = subprocess.run(
        command("adapter", *common, "--out", tmp_path / "one"), capture_output=True, text=True
    )
    assert one.returncode == 0, one.stderr
    running = subprocess.Popen(
        command("adapter", *common, "--out", tmp_path / "ray", "--engine", "ray"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed = 0
    while running.poll() is None and killed < 2:
        time.sleep(1.0)
        for pid in workers()[:1]:
            os.kill(pid, signal.SIGKILL)
            killed += 1
    printed, told = running.communicate(timeout=600)
    assert running.returncode == 0, told
    assert killed
    assert printed == one.stdout
    for seed in range(3):
        name = f"seed-{seed}/adapter.safetensors"
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    found, expected = (json.loads((tmp_path / n / "many.json").read_text()) for n in ("ray", "one"))
    assert found["spread"] == expected["spread"]

"""Processes that the command starts itself, and two launchers that meet."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from adapter.errors import ProcessError
from adapter.training import launch as launching
from adapter.training.launch import launch, launched

DEMO = ["--dataset", "demo", "--option", "count=40", "--backbone", "demo-seeded-vit"]
DEMO += ["--pretrained", "seed:0", "--token-pool", "4"]
# Dropout is drawn for each process.
STEPS = ["--width", "8", "--batch-size", "8", "--set", "model.blocks=1"]
STEPS += ["--set", "model.dropout=0", "--steps"]


def test_how_a_process_has_ended_is_told():
    assert launching._told({0: 1, 1: -9}).startswith("process 1 was ended by SIGKILL, perhaps")
    assert launching._told({1: 1}) == (
        "process 1 has ended with exit code 1; what it said is above"
    )


def test_who_is_launched(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert not launched()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched()


def command(program, *arguments):
    return [sys.executable, "-m", f"cli.{program}", *map(str, arguments)]


def run(*arguments, **options):
    return subprocess.run(command(*arguments), capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    made = run("featcache", "extract", "--root", folder / "images", "--out", folder / "c", *DEMO)
    assert made.returncode == 0, made.stderr
    return folder / "c"


@pytest.fixture(scope="module")
def one(demo, tmp_path_factory):
    """The run of one process."""
    out = tmp_path_factory.mktemp("one") / "run"
    done = run("adapter", "train", "--shards", demo, "--out", out, *STEPS, 6)
    assert done.returncode == 0, done.stderr
    return out


def assert_same(left: Path, right: Path) -> None:
    a, b = (load_file(folder / "adapter.safetensors") for folder in (left, right))
    for name in a:
        np.testing.assert_allclose(b[name], a[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_processes_are_as_one(demo, one, tmp_path):
    done = run(
        *("adapter", "train", "--shards", demo, "--out", tmp_path / "run", *STEPS, 6),
        *("--processes", 2),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the adapter is in") == 1
    assert_same(one, tmp_path / "run")


@pytest.mark.slow
def test_two_launchers_meet(demo, one, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    torchrun += ["--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "test"]
    torchrun += ["--rdzv-endpoint", f"127.0.0.1:{port}", "-m", "cli.adapter", "train"]
    torchrun += [*map(str, ("--shards", demo, "--out", tmp_path / "run")), *STEPS, "6"]
    nodes = [subprocess.Popen(torchrun, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for node in nodes:
        _, told = node.communicate(timeout=600)
        assert node.returncode == 0, told
    assert_same(one, tmp_path / "run")


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_and_another_number_goes_on(demo, tmp_path):
    out = tmp_path / "run"
    long = ["train", "--shards", demo, "--out", out, *STEPS, 400]
    running = subprocess.Popen(
        command("adapter", *long, "--processes", 2), stderr=subprocess.PIPE, text=True
    )
    while not (out / "log.jsonl").exists():
        assert running.poll() is None
        time.sleep(0.1)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    victims = [
        pid for pid in children if b"cli.adapter" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(int(victims[-1]), signal.SIGKILL)
    killed = time.monotonic()
    _, told = running.communicate(timeout=120)
    assert time.monotonic() - killed < 60
    assert running.returncode == 1
    assert re.search(r"process \d was ended by SIGKILL", told), told
    assert "Go on with: adapter train" in told
    assert "--resume" in told
    done = run("adapter", *long, "--resume", "--processes", 3)
    assert done.returncode == 0, done.stderr
    whole = run("adapter", "train", "--shards", demo, "--out", tmp_path / "whole", *STEPS, 400)
    assert whole.returncode == 0, whole.stderr
    a, b = (load_file(f / "adapter.safetensors") for f in (out, tmp_path / "whole"))
    for name in a:  # roundings of 400 steps
        np.testing.assert_allclose(b[name], a[name], rtol=0.1, atol=0.02, err_msg=name)


@pytest.mark.slow
def test_a_signal_saves_the_run(demo, tmp_path):
    out = tmp_path / "run"
    long = ["train", "--shards", demo, "--out", out, *STEPS, 4000, "--processes", 2]
    running = subprocess.Popen(command("adapter", *long), stderr=subprocess.PIPE, text=True)
    while not (out / "log.jsonl").exists():
        assert running.poll() is None
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 130, told
    assert "stopped; go on with: adapter train" in told
    assert (out / "state").exists()


@pytest.mark.slow
def test_an_error_of_all_is_told(tmp_path):
    with pytest.raises(ProcessError, match="exit code 1"):
        launch(command("adapter", "train", "--shards", tmp_path, "--out", tmp_path / "r"), 2)

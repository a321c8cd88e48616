"""Processes that the command starts itself, and two launchers that meet."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist
from safetensors.numpy import load_file

from adapter.errors import ProcessError, TrainingError
from adapter.training import distributed
from adapter.training import launch as launching
from adapter.training.launch import launch, launched

DEMO = ["--dataset", "demo", "--option", "count=40", "--backbone", "demo-seeded-vit"]
DEMO += ["--pretrained", "seed:0", "--token-pool", "4"]
# Dropout is drawn for each process.
STEPS = ["--width", "8", "--batch-size", "8", "--set", "model.blocks=1"]
STEPS += ["--set", "model.dropout=0", "--steps"]


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ({1: 1}, "process 1 has ended with exit code 1; what it said is above"),
        ({0: 1, 1: -9}, "process 1 was ended by SIGKILL, perhaps by the system, which had no"),
        ({0: -15, 1: -9}, "process 1 was ended by SIGKILL"),
        ({2: 4, 0: 4, 1: -11}, "process 1 was ended by SIGSEGV"),
        ({0: 4, 1: 1, 2: -15}, "process 1 has ended with exit code 1"),
        ({0: 130, 1: 4}, "process 1 has lost its connection to the others"),
        ({0: -15}, "process 0 was ended by SIGTERM"),
        ({2: -9, 1: -9}, "process 2 was ended by SIGKILL"),  # which came first
    ],
)
def test_the_process_that_made_the_others_end_is_told(codes, told):
    assert launching._told(codes).startswith(told)
    assert not launching._stopped(codes.values())


def test_processes_that_were_asked_to_stop_are_no_error():
    assert launching._stopped([130, 130])
    assert launching._stopped([130, -15])  # the launcher came while it was leaving
    assert not launching._stopped([-15, -15])
    assert not launching._stopped([130, 1])


def test_an_error_of_gloo_is_told_in_short():
    place = "[/w/gloo/transport/tcp/pair.cc:545] "
    what = "Read error [127.0.0.1]:7067: Connection reset by peer"
    assert distributed._in_short(RuntimeError(f"{place}{what}. This is typically a")) == what


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[x/gloo/transport/tcp/pair.cc:561] Connection closed by peer [::1]"), True),
        (dist.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (TrainingError("the loss is not finite"), False),
    ],
)
def test_errors_of_a_connection_are_told_from_others(error, lost):
    assert distributed._of_a_connection(error) == lost


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


def workers(launcher) -> list[int]:
    """Return the processes that a launcher has started, by their ranks."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    found = {}
    for pid in children:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if rank := [word for word in words if word.startswith(b"RANK=")]:
            found[int(rank[0].removeprefix(b"RANK="))] = int(pid)
    return [found[rank] for rank in sorted(found)]


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


def two_launchers(*arguments):
    """Start torchrun twice, as on two machines, with one process each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    torchrun += ["--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "test"]
    torchrun += ["--rdzv-endpoint", f"127.0.0.1:{port}", "-m", "cli.adapter", "train"]
    torchrun += map(str, arguments)
    return [subprocess.Popen(torchrun, stderr=subprocess.PIPE, text=True) for _ in range(2)]


@pytest.mark.slow
def test_two_launchers_meet(demo, one, tmp_path):
    for node in two_launchers("--shards", demo, "--out", tmp_path / "run", *STEPS, 6):
        _, told = node.communicate(timeout=600)
        assert node.returncode == 0, told
    assert_same(one, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(2))
def test_a_process_that_dies_ends_the_run_and_another_number_goes_on(demo, tmp_path, number):
    out = tmp_path / "run"
    long = ["train", "--shards", demo, "--out", out, *STEPS, 400]
    running = subprocess.Popen(
        command("adapter", *long, "--processes", 2), stderr=subprocess.PIPE, text=True
    )
    while not (out / "log.jsonl").exists():
        assert running.poll() is None
        time.sleep(0.1)
    victim = workers(running)[number]
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    _, told = running.communicate(timeout=120)
    assert time.monotonic() - killed < 30
    assert running.returncode == 1
    assert f"process {number} was ended by SIGKILL" in told, told
    assert told.count("has lost its connection") <= 1
    assert "Traceback" not in told
    assert "error in the program" not in told
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
def test_a_process_that_dies_ends_both_launchers(demo, tmp_path):
    out = tmp_path / "run"
    long = ["--shards", demo, "--out", out, *STEPS, 400]
    nodes = two_launchers(*long)
    while not (out / "log.jsonl").exists():
        assert nodes[0].poll() is None
        time.sleep(0.1)
    os.kill(workers(nodes[0])[0], signal.SIGKILL)
    killed = time.monotonic()
    told = [node.communicate(timeout=120)[1] for node in nodes]
    assert time.monotonic() - killed < 60
    assert [node.returncode for node in nodes] == [1, 1]
    assert "(SIGKILL) received" in told[0]  # by torchrun
    assert "has lost its connection to another one" in told[1]
    assert "error in the program" not in told[1]
    for node in two_launchers(*long, "--resume"):
        _, said = node.communicate(timeout=600)
        assert node.returncode == 0, said


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

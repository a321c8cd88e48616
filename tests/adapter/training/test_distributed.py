from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from adapter.stacking.stack import Stack
from adapter.training.distributed import World, add_up, any_process, broadcast_object, gather
from adapter.training.log import read_log

WORKER = Path(__file__).with_name("train_worker.py")
# 13 images do not split evenly: parts of different lengths are gathered.
COMMON = {"steps": 10, "validate_every": 5, "batch_size": 13, "dropout": 0.0}
# Half of 13 is 6 answers, which do not split evenly either, beside batches of labels.
ANSWERS = [
    [f"image-{i}", f"image-{i + 1}", "left" if i % 3 else "equal", "beauty"] for i in range(30)
]
JOBS = {
    "released": {},
    "paper": {"ranking": "hinge", "regression": "smooth_l1"},
    "ordered": {"ranking": "hinge", "hinge_pairs": "ordered"},
    "skip": {"ties": "skip", "pair_head": "concat"},
    "compared": {"comparisons": ANSWERS},
    "pairs": {"regression": "none", "pair_head": "subtract"},
    "stacked": {"stack_parts": 2},
    "shared": {"queries_per_batch": 2},
    "shared ordered": {"queries_per_batch": 3, "ranking": "hinge", "hinge_pairs": "ordered"},
}


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """Folder of the runs of two processes, one per job."""
    folder = tmp_path_factory.mktemp("two")
    jobs = [COMMON | job | {"out": str(folder / name)} for name, job in JOBS.items()]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common = os.environ | world | {"PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "error", str(WORKER), json.dumps(jobs)],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank, process in enumerate(running):
        printed, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert bool(printed) == (rank == 0)  # only the first process reports
    return folder


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_have_the_loss_curve_of_one(tmp_path, by_two, train_fake, name):
    train_fake(tmp_path, **(COMMON | JOBS[name]))
    train, validation = [], []
    for folder in (tmp_path, by_two / name):
        records = list(read_log(folder / "log.jsonl"))
        train.append(
            [
                [r[key] for key in ("step", "loss", "ranking", "regression", "grad_norm")]
                for r in records
                if r["kind"] == "train"
            ]
        )
        validation.append([r["srcc"] for r in records if r["kind"] == "validation"])
    assert len(train[0]) == COMMON["steps"]
    np.testing.assert_allclose(train[1], train[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(validation[1], validation[0], atol=0.02)


def test_two_processes_find_the_weights_of_one(tmp_path, by_two, train_fake):
    train_fake(tmp_path, **(COMMON | JOBS["stacked"]))
    one, two = (Stack.load(folder).queries for folder in (tmp_path, by_two / "stacked"))
    for a, b in zip(one, two, strict=True):
        assert np.allclose(a.line, b.line)
        assert (b.adapter_weight, b.line_weight) == pytest.approx(
            (a.adapter_weight, a.line_weight), abs=1e-3
        )


def test_one_process_exchanges_nothing():
    world = World(0, 1, torch.device("cpu"))
    value = torch.arange(3.0)
    assert gather(value, [3], world) is value
    assert add_up(value, world) is value
    assert any_process(True, world)
    assert broadcast_object({"a": 1}, world) == {"a": 1}

"""One training process, for the tests of signals and of several processes; not a test itself.

    python train_worker.py '[{"out": "run", "steps": 10, "delay": 0.0}, ...]'

Trains once per entry; "delay" is slept after each event. Joins the group of processes that the
environment names, as under torchrun.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import torch.distributed as dist

spec = importlib.util.spec_from_file_location("fakes", Path(__file__).parents[1] / "conftest.py")
assert spec is not None
assert spec.loader is not None
fakes = importlib.util.module_from_spec(spec)
sys.modules["fakes"] = fakes
spec.loader.exec_module(fakes)

if "WORLD_SIZE" in os.environ:
    dist.init_process_group("gloo")
for job in json.loads(sys.argv[1]):
    delay = job.pop("delay", 0.0)

    def report(event, delay=delay):
        print(event.kind, event.step, flush=True)
        time.sleep(delay)

    fakes.train_fake(Path(job.pop("out")), on_event=report, **job)
if dist.is_initialized():
    dist.destroy_process_group()

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from adapter.errors import CheckpointError, ConfigError
from adapter.training.log import read_log
from featcache.errors import FolderLockedError
from featcache.storage.lock import alone

WORKER = Path(__file__).with_name("train_worker.py")
STEPS = 24
OPTIONS = {"steps": STEPS, "checkpoint_every": 5, "seed": 3, "validate_every": 8}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, train_fake):
    """The folder of a run without interruption."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert not train_fake(out, **OPTIONS).interrupted
    return out


def assert_same_run(a, b):
    one, two = load_file(a / "adapter.safetensors"), load_file(b / "adapter.safetensors")
    assert one.keys() == two.keys()
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)
    clocks = ("step_ms", "images_per_second", "peak_memory")
    logs = [
        [{k: v for k, v in r.items() if k not in clocks} for r in read_log(x / "log.jsonl")]
        for x in (a, b)
    ]
    assert logs[0] == logs[1]
    steps = [r["step"] for r in logs[0] if r["kind"] == "train"]
    assert steps == list(range(1, STEPS + 1))


def whole_batch(out):
    """Images of a step, from the log of a run."""
    first = next(r for r in read_log(out / "log.jsonl") if r["kind"] == "train")
    return first["images_per_second"] * first["step_ms"] / 1000


def stop_at(step, number=signal.SIGTERM):
    def on_event(event):
        if event.kind == "step" and event.step == step:
            os.kill(os.getpid(), number)

    return on_event


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_and_the_run_resumes_to_the_same_bits(
    tmp_path, whole, train_fake, number
):
    handler = signal.getsignal(number)
    summary = train_fake(tmp_path, on_event=stop_at(12, number), **OPTIONS)
    assert signal.getsignal(number) is handler
    assert summary.interrupted
    assert summary.steps in (12, 13)
    assert json.loads((tmp_path / "run.json").read_text())["outcome"]["interrupted"]
    again = train_fake(tmp_path, resume=True, **OPTIONS)
    assert not again.interrupted
    seconds = again.seconds - summary.seconds  # of the steps that were left
    images = again.images_per_second * seconds / (STEPS - summary.steps)
    assert images == pytest.approx(whole_batch(whole))
    assert_same_run(tmp_path, whole)
    assert not (tmp_path / "state").exists()


def test_a_killed_run_resumes_to_the_same_bits(tmp_path, whole, train_fake):
    out = tmp_path / "run"
    job = json.dumps([OPTIONS | {"out": str(out), "delay": 0.02}])
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-W", "error", str(WORKER), job]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if line.strip() == "step 12":
                process.kill()
    assert process.returncode == -signal.SIGKILL
    # The kill may also tear the log's last line.
    with (out / "log.jsonl").open("a") as stream:
        stream.write('{"step": 13, "kin')
    events = []
    train_fake(out, resume=True, on_event=events.append, **OPTIONS)
    assert events[0].step == 10  # the last saved state
    assert_same_run(out, whole)


def test_a_finished_run_stays_as_it_is(whole, train_fake):
    before = (whole / "adapter.safetensors").stat().st_mtime_ns
    events = []
    assert train_fake(whole, resume=True, on_event=events.append, **OPTIONS).steps == STEPS
    assert not events
    assert (whole / "adapter.safetensors").stat().st_mtime_ns == before


def test_resuming_a_folder_without_a_run_starts_one(tmp_path, train_fake):
    assert train_fake(tmp_path / "new", resume=True, steps=2).steps == 2


def test_a_run_is_not_overwritten(whole, train_fake):
    with pytest.raises(ConfigError, match="already holds a run"):
        train_fake(whole, **OPTIONS)


def test_a_second_process_is_kept_out_of_a_run(tmp_path, whole, train_fake):
    """It reads no half-written state; the first one goes on, with the same result."""
    messages = []

    def begin_again(event):
        if event.kind == "step" and event.step in (1, 12):
            with pytest.raises(FolderLockedError, match=f"process {os.getpid()} on .* is at work"):
                train_fake(tmp_path, **OPTIONS, resume=True)
            messages.append(event.step)

    train_fake(tmp_path, **OPTIONS, on_event=begin_again)
    assert messages == [1, 12]
    assert_same_run(tmp_path, whole)
    assert train_fake(tmp_path, **OPTIONS, resume=True).steps == STEPS  # nobody is there any more


def test_who_waited_for_a_run_finds_it_finished(tmp_path, train_fake, monkeypatch):
    """Between its look at the record and the lock, the other process came to the end."""
    train_fake(tmp_path, **OPTIONS, on_event=stop_at(6))

    def finish_first(folder):
        monkeypatch.undo()
        train_fake(tmp_path, **OPTIONS, resume=True)
        return alone(folder)

    monkeypatch.setattr("adapter.training.train.alone", finish_first)
    assert train_fake(tmp_path, **OPTIONS, resume=True).steps == STEPS
    assert not (tmp_path / "state").exists()
    steps = [r["step"] for r in read_log(tmp_path / "log.jsonl") if r["kind"] == "train"]
    assert steps == list(range(1, STEPS + 1))


def test_a_run_does_not_go_into_a_cache(tmp_path, train_fake):
    (tmp_path / "cache.json").touch()
    for resume in (False, True):
        with pytest.raises(ConfigError, match="is a cache; train into another folder"):
            train_fake(tmp_path, resume=resume, **OPTIONS)
    assert [file.name for file in tmp_path.iterdir()] == ["cache.json"]


def test_other_settings_are_refused_with_both_values(whole, train_fake):
    with pytest.raises(CheckpointError) as caught:
        train_fake(whole, resume=True, **(OPTIONS | {"lr": 0.5, "log_every": 2}))
    assert "train.optim.lr: 0.001 then, 0.5 now" in str(caught.value)
    assert "log_every" not in str(caught.value)


def test_a_damaged_state_is_refused(tmp_path, train_fake):
    train_fake(tmp_path, on_event=stop_at(3), **OPTIONS)
    state = tmp_path / "state" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        train_fake(tmp_path, resume=True, **OPTIONS)


def test_fp16_keeps_its_loss_scale(tmp_path, train_fake):
    options = OPTIONS | {"precision": "fp16"}
    train_fake(tmp_path / "a", **options)
    train_fake(tmp_path / "b", on_event=stop_at(7), **options)
    train_fake(tmp_path / "b", resume=True, **options)
    assert_same_run(tmp_path / "a", tmp_path / "b")

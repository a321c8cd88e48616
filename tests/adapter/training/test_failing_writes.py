"""A folder that cannot be written: found before the work, or nothing that was trained is lost."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from adapter.network.model import RankingAdapter
from adapter.record import read_record
from adapter.training.log import RunLog, read_log
from featcache.errors import DiskSpaceError, WriteError

STEPS = {"steps": 12, "checkpoint_every": 4, "seed": 1, "validate_every": 6}
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Disk:
    """Fails at renames to names that match, from a given time on: as a full disk does."""

    def __init__(self, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pattern, self.failed, self.full = re.compile(pattern), 0, True
        real = Path.replace

        def replace(path: Path, target: Path) -> Any:
            if self.full and self.pattern.search(str(target)):
                self.failed += 1
                raise FULL
            return real(path, target)

        monkeypatch.setattr(Path, "replace", replace)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files of this test alone."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


@pytest.fixture(scope="module")
def whole(tmp_path_factory, train_fake):
    """The weights of a run in which every write goes well."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train_fake(out, **STEPS)
    return load_file(out / "adapter.safetensors")


def same(one, two):
    return all(one[name].tobytes() == two[name].tobytes() for name in one)


def notes_of(events):
    return [event.values["text"] for event in events if event.kind == "note"]


def test_a_state_that_cannot_be_saved_does_not_end_the_run(
    tmp_path, train_fake, whole, monkeypatch
):
    disk, events = Disk("state.safetensors", monkeypatch), []
    train_fake(tmp_path / "run", on_event=events.append, **STEPS)
    assert disk.failed == 2
    (note,) = notes_of(events)
    assert "the state could not be written" in note
    assert "No space left" in note
    assert same(load_file(tmp_path / "run/adapter.safetensors"), whole)


def test_best_weights_wait_in_memory(tmp_path, train_fake, whole, monkeypatch):
    disk, events = Disk(r"run/adapter\.", monkeypatch), []

    def on_event(event):
        events.append(event)
        disk.full = event.kind != "step" or event.step < 12  # there is space again at the end

    train_fake(tmp_path / "run", on_event=on_event, **STEPS)
    assert disk.failed
    assert "the best weights could not be written" in notes_of(events)[0]
    assert same(load_file(tmp_path / "run/adapter.safetensors"), whole)


@pytest.mark.parametrize("pattern", [r"run/adapter\.safetensors", r"run/adapter\.json"])
def test_weights_that_cannot_be_written_at_the_end_are_written_elsewhere(
    tmp_path, train_fake, whole, monkeypatch, temporary, pattern
):
    Disk(pattern, monkeypatch)
    with pytest.raises(WriteError, match="Nothing is lost: the finished run") as caught:
        train_fake(tmp_path / "run", **STEPS)
    (place,) = temporary.glob("adapter-run-*")
    assert str(place) in str(caught.value)
    assert "No space left" in str(caught.value)
    assert same(load_file(place / "adapter.safetensors"), whole)
    RankingAdapter.load(place)
    assert read_record(place)["outcome"]["steps"] == 12


def test_an_outcome_that_cannot_be_written(tmp_path, train_fake, whole, monkeypatch, temporary):
    def on_event(event):
        if event.kind == "start":
            Disk(r"run/run\.json", monkeypatch)

    with pytest.raises(WriteError, match="Nothing is lost"):
        train_fake(tmp_path / "run", on_event=on_event, **STEPS)
    (place,) = temporary.glob("adapter-run-*")
    for folder in (tmp_path / "run", place):
        assert same(load_file(folder / "adapter.safetensors"), whole)
    # The advice to resume holds as well: the state of before is there.
    monkeypatch.undo()
    assert train_fake(tmp_path / "run", resume=True, **STEPS).steps == 12
    assert same(load_file(tmp_path / "run/adapter.safetensors"), whole)


def test_a_stopped_run_goes_on_from_where_it_was_rescued(
    tmp_path, train_fake, whole, monkeypatch, temporary
):
    import signal

    Disk("run/state", monkeypatch)

    def on_event(event):
        if event.kind == "step" and event.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(WriteError, match="--resume"):
        train_fake(tmp_path / "run", on_event=on_event, log_every=1, **STEPS)
    (place,) = temporary.glob("adapter-run-*")
    assert train_fake(place, resume=True, **STEPS).steps == 12
    assert same(load_file(place / "adapter.safetensors"), whole)


def test_a_second_failure_says_what_is_left(tmp_path, train_fake, monkeypatch):
    Disk(r"adapter\.safetensors", monkeypatch)
    with pytest.raises(WriteError, match="neither could the folder for temporary files") as caught:
        train_fake(tmp_path / "run", **STEPS)
    assert "--resume" in str(caught.value)


def test_a_log_that_cannot_be_written_waits(tmp_path, train_fake, whole, monkeypatch):
    real, lines = os.write, []

    def write(descriptor: int, data: bytes) -> int:
        if bytes(data).startswith(b'{"step"'):
            lines.append(data)
            if 3 <= len(lines) < 8:
                real(descriptor, data[:7])  # a part of it still fits
                raise FULL
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    events = []
    train_fake(tmp_path / "run", on_event=events.append, **STEPS)
    assert "the log could not be written" in notes_of(events)[0]
    steps = [r["step"] for r in read_log(tmp_path / "run/log.jsonl") if r["kind"] == "train"]
    assert steps == list(range(1, 13))
    assert same(load_file(tmp_path / "run/adapter.safetensors"), whole)


def test_tensorboard_waits_for_a_disk_that_is_full(tmp_path, train_fake, monkeypatch):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", exc_type=ImportError
    )
    real, writes = os.write, []

    def write(descriptor: int, data: bytes) -> int:
        if b"train/loss" in bytes(data):  # not so in log.jsonl
            writes.append(data)
            if 3 <= len(writes) < 8:
                real(descriptor, data[:30])  # a part of it still fits
                raise FULL
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    events = []
    train_fake(tmp_path / "run", on_event=events.append, tensorboard=True, **STEPS)
    assert "the log could not be written" in notes_of(events)[0]
    board = accumulator.EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == list(range(1, 13))


def test_numbers_that_are_not_finite_are_null_at_any_depth(tmp_path):
    log = RunLog(tmp_path)
    log.append({"step": 1, "kind": "train", "loss": float("nan"), "more": [float("inf")]})
    log.close()
    assert next(read_log(log.path))["more"] == [None]


@pytest.mark.parametrize("there", ["file", "file/below", "closed/run"])
def test_a_folder_that_cannot_be_made_is_found_before_the_work(
    tmp_path, train_fake, there, monkeypatch
):
    (tmp_path / "file").write_text("x")
    (tmp_path / "closed").mkdir()
    real = os.mkdir

    def mkdir(path, *arguments, **named):
        if "closed" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        real(path, *arguments, **named)

    monkeypatch.setattr(os, "mkdir", mkdir)
    events = []
    with pytest.raises(WriteError) as caught:
        train_fake(tmp_path / there, on_event=events.append, **STEPS)
    assert there.split("/")[0] in str(caught.value)
    assert events == []


def test_a_disk_that_is_full_from_any_write_on(tmp_path, train_fake, whole, monkeypatch, temporary):
    """The n-th commit of a file fails, and all after it, outside of the temporary folder."""
    real, ends = Path.replace, []
    for n in range(100):
        count = iter(range(1000))

        def replace(path: Path, target: Path, n: int = n, count: Any = count) -> Any:
            if temporary not in target.parents and next(count) >= n:
                raise FULL
            return real(path, target)

        monkeypatch.setattr(Path, "replace", replace)
        out, events = tmp_path / f"run{n}", []
        before, failure = set(temporary.iterdir()), None
        try:
            train_fake(out, on_event=events.append, **STEPS)
        except (DiskSpaceError, WriteError) as error:
            failure = str(error)
        assert not list(out.rglob("*.tmp"))
        if failure is None:
            assert same(load_file(out / "adapter.safetensors"), whole)
            ends.append("whole")
            break
        assert "No space left" in failure
        if not events:  # found before the work
            ends.append("before")
            continue
        (place,) = set(temporary.iterdir()) - before
        assert same(load_file(place / "adapter.safetensors"), whole)
        ends.append("rescued")
    assert ends[0] == "before"
    assert ends[-1] == "whole"
    assert ends.count("rescued") >= 5

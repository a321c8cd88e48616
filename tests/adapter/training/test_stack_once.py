"""A stack whose adapter goes on where the adapter of a part ended."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file

from adapter.data.labels import select_labels
from adapter.errors import CheckpointError, ConfigError
from adapter.run import Run
from adapter.settings import TrainConfig
from adapter.stacking.stack import LINES, STACK
from adapter.training.log import read_log
from adapter.training.parts import FOLDER, START, fit_stack, part_images

FILES = ("adapter.safetensors", LINES, STACK)
OPTIONS = {"steps": 20, "lr": 3e-3, "stack_parts": 4, "stack_steps": 0.5, "stack_once": True}


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, train_fake):
    """A run that nothing stopped."""
    out = tmp_path_factory.mktemp("once")
    train_fake(out, **OPTIONS)
    return out


def stop_after(steps, error=None):
    """Send a signal, or raise an error, at this step of all that are done."""
    count = 0

    def on_event(event):
        nonlocal count
        count += event.kind == "step"
        if event.kind == "step" and count == steps:
            if error is not None:
                raise error
            os.kill(os.getpid(), signal.SIGTERM)

    return on_event


def test_the_run_is_complete_and_ranks(whole, cache):
    assert not (whole / FOLDER).exists()
    run = Run.load(whole)
    assert {q.query for q in run.stack.queries} == set(cache.prompts)
    assert np.isfinite(run.score(cache, np.arange(9), "beauty")).all()


def test_one_part_is_predicted_and_the_run_starts_from_its_adapter(
    tmp_path, train_fake, make_cache, monkeypatch
):
    found = {}

    def keep(run, learned):
        found["learned"] = learned
        assert len(list((tmp_path / FOLDER).iterdir())) == 2  # the predictions, and the weights
        found["start"] = load_file(tmp_path / FOLDER / START / "adapter.safetensors")
        return fit_stack(run, learned)

    monkeypatch.setattr("adapter.training.train.fit_stack", keep)
    train_fake(tmp_path, **OPTIONS | {"lr": 1e-12, "weight_decay": 0.0})  # it stays where it starts
    ended = load_file(tmp_path / "adapter.safetensors")
    assert all(np.allclose(ended[name], found["start"][name], atol=1e-7) for name in ended)
    learned, selection = found["learned"], select_labels(make_cache(), split="train")
    held = part_images(selection, 4, 0, 0)
    for labels, predicted in zip(learned.labels[0], learned.predictions[0], strict=True):
        assert np.array_equal(np.isfinite(predicted), np.isin(labels.rows, held))


def test_the_second_half_goes_on_from_the_first(tmp_path, train_fake, cache):
    options = {"cache": cache, "lr": 3e-3, "queries": ("beauty",)}
    train_fake(tmp_path / "fresh", steps=60, **options)
    train_fake(
        tmp_path / "once", steps=60, stack_parts=4, stack_steps=1.0, stack_once=True, **options
    )
    fresh, once = (
        np.mean([r["loss"] for r in read_log(tmp_path / name / "log.jsonl")][:5])
        for name in ("fresh", "once")
    )
    assert once < fresh / 2


@pytest.mark.parametrize("stop", [4, 16, 27])
def test_it_goes_on_bit_for_bit(tmp_path, whole, train_fake, stop):
    """Stopped in the part, and early and late in the run itself."""
    assert train_fake(tmp_path, on_event=stop_after(stop), **OPTIONS).interrupted
    assert not train_fake(tmp_path, resume=True, **OPTIONS).interrupted
    assert contents(tmp_path) == contents(whole)


def test_killed_it_goes_on_bit_for_bit(tmp_path, whole, train_fake):
    with pytest.raises(RuntimeError, match="killed"):
        train_fake(tmp_path, on_event=stop_after(13, RuntimeError("killed")), **OPTIONS)
    train_fake(tmp_path, resume=True, **OPTIONS)
    assert contents(tmp_path) == contents(whole)


def test_damaged_weights_of_the_part_are_named(tmp_path, train_fake):
    train_fake(tmp_path, on_event=stop_after(13), **OPTIONS)
    weights = tmp_path / FOLDER / START / "adapter.safetensors"
    assert load_file(weights)
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"adapter\.safetensors"):
        train_fake(tmp_path, resume=True, **OPTIONS)


def test_it_needs_parts():
    with pytest.raises(ConfigError, match="stack_parts"):
        TrainConfig(stack_once=True)
    assert "stack_once" not in TrainConfig.best().to_dict()

"""An adapter that standardizes its inputs, where channels have very different scales."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from adapter.network.config import AdapterConfig
from adapter.network.losses import LossConfig
from adapter.network.model import RankingAdapter
from adapter.run import Run
from adapter.settings import TrainConfig
from adapter.training import inputs
from adapter.training.inputs import standardize
from adapter.training.log import read_log
from adapter.training.prepare import prepare

SCALE = np.array([1, 1, 100, 30, 300, 10, 3, 1000], np.float32)  # of the fake tokens' channels


@pytest.fixture
def uneven(make_cache):
    """A cache in which the channels that tell something are among the smallest."""
    plain = make_cache(images=80)
    features = (plain.features * SCALE + 2 * SCALE).astype(np.float16)
    return make_cache(images=80, features=features)


@pytest.fixture
def adapter_and_run(uneven):
    model = AdapterConfig.released(image_dim=8, text_dim=8, width=16, standardize=True)
    run = prepare([uneven], model, LossConfig(), TrainConfig(), torch.device("cpu"))
    return RankingAdapter(run.model), run


def loss_after(out, train_fake, cache, **options):
    train_fake(out, cache=cache, steps=100, lr=3e-3, queries=("beauty",), **options)
    losses = [r["loss"] for r in read_log(out / "log.jsonl") if r["kind"] == "train"]
    return np.mean(losses[-10:])


def test_channels_have_mean_0_and_deviation_1(uneven, adapter_and_run):
    adapter, run = adapter_and_run
    standardize(adapter, run)
    rows = run.sampler.image_rows(0)  # fewer than what is drawn: all are read
    tokens = torch.from_numpy(uneven.tokens(rows)).flatten(0, 1).double()  # [n, C]
    seen = (tokens - adapter.image_mean) / adapter.image_scale
    assert torch.allclose(seen.mean(0), torch.zeros(8).double(), atol=1e-4)
    assert torch.allclose(seen.std(0, correction=0), torch.ones(8).double(), atol=1e-4)
    mapped = adapter.image_proj(seen.float()).detach()
    assert 0.5 < float(mapped.std()) < 2  # and it keeps the scale


def test_of_many_images_some_are_read(monkeypatch, uneven, adapter_and_run):
    adapter, run = adapter_and_run
    monkeypatch.setattr(inputs, "TOKENS", 40)  # of 4 per image
    read = []
    monkeypatch.setattr(
        type(uneven), "tokens", lambda self, rows, view: read.append(rows) or self.features[rows, 0]
    )
    standardize(adapter, run)
    assert len(read[-1]) == len(np.unique(read[-1])) == 10
    assert np.isin(read[-1], run.sampler.image_rows(0)).all()


def test_channels_of_different_scale_are_learned_in_fewer_steps(tmp_path, train_fake, uneven):
    usual = loss_after(tmp_path / "usual", train_fake, uneven)
    assert loss_after(tmp_path / "standardized", train_fake, uneven, standardize=True) < usual / 3


def test_an_adapter_as_wide_as_the_tokens_can_do_it_too(tmp_path, train_fake, uneven):
    options = {"width": 8, "heads": 2, "standardize": True}
    usual = loss_after(tmp_path / "usual", train_fake, uneven, **options | {"standardize": False})
    assert loss_after(tmp_path / "standardized", train_fake, uneven, **options) < usual / 2


def test_it_resumes_to_the_same_bits_and_ranks(tmp_path, train_fake, uneven):
    def stop(event):
        if event.kind == "step" and event.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    options = {"cache": uneven, "steps": 9, "standardize": True, "stack_parts": 2}
    train_fake(tmp_path / "whole", **options)
    assert train_fake(tmp_path / "cut", on_event=stop, **options).interrupted
    train_fake(tmp_path / "cut", resume=True, **options)
    one, two = ((tmp_path / name / "adapter.safetensors").read_bytes() for name in ("whole", "cut"))
    assert one == two
    run = Run.load(tmp_path / "cut")
    assert float(run.model.image_scale.max()) > 500
    tokens = torch.from_numpy(uneven.tokens(np.arange(6))).float()
    scores = run.model(tokens, torch.from_numpy(uneven.prompt("beauty").tokens))
    assert torch.isfinite(scores).all()
    assert len(scores.unique()) == 6


def test_an_adapter_without_it_saves_what_it_always_saved():
    plain = RankingAdapter(AdapterConfig.released(width=16))
    assert "standardize" not in plain.config.to_dict()
    assert not any(name.startswith("image_mean") for name in plain.state_dict())

"""Going on with other caches or other labels is refused by name."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from adapter.data.targets import TargetScales
from adapter.errors import CheckpointError
from adapter.evaluation.evaluate import evaluate
from adapter.network.config import AdapterConfig
from adapter.network.losses import LossConfig
from adapter.record import read_record
from adapter.settings import OptimConfig, SamplingConfig, TrainConfig
from adapter.training.resume import require_same_data
from adapter.training.train import train

VERSION1 = Path(__file__).parents[2] / "data" / "version1"


def stop(event):
    if event.kind == "step" and event.step == 3:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def stopped(tmp_path, train_fake, make_cache):
    """A stopped run on a cache that has an identity."""
    cache = make_cache()
    cache.identity = "a" * 32
    train_fake(tmp_path / "run", cache=cache, on_event=stop)
    return tmp_path / "run", cache


def test_another_cache_is_refused_by_name(stopped, train_fake, make_cache):
    out, cache = stopped
    other = make_cache(path="elsewhere")
    other.identity = "b" * 32
    with pytest.raises(CheckpointError) as caught:
        train_fake(out, cache=other, resume=True)
    assert "cache (fake, aaaaaaaaaaaa) then, elsewhere (fake, bbbbbbbbbbbb) now" in str(
        caught.value
    )
    assert "train into a new folder" in str(caught.value)
    cache.path = "moved"  # the same cache at another place
    assert train_fake(out, cache=cache, resume=True).steps == 10


def test_other_labels_are_refused_and_still_evaluated(stopped, train_fake):
    out, cache = stopped
    name, task, query, value, split, fold = cache.label_rows[0]
    cache.label_rows[0] = (name, task, query, value + 1, split, fold)
    with pytest.raises(CheckpointError, match="the labels of cache have changed"):
        train_fake(out, cache=cache, resume=True)
    assert evaluate(out, [cache]).queries
    cache.label_rows[0] = (name, task, query, value, split, fold)
    assert train_fake(out, cache=cache, resume=True).steps == 10
    # A finished run is refused as well: it is not a run of these labels.
    cache.label_rows.pop()
    cache.label_rows.pop()
    cache.label_rows[0] = (name, task, query, value + 1, split, fold)
    with pytest.raises(CheckpointError, match="labels"):
        train_fake(out, cache=cache, resume=True)


def test_more_caches_are_refused(stopped, train_fake, make_cache):
    out, cache = stopped
    with pytest.raises(CheckpointError, match="1 caches then, 2 now"):
        train_fake(out, cache=[cache, make_cache(path="more")], resume=True)


# ---- runs of version 1, made before caches had identities ------------------------------------


def old_config():
    return (
        AdapterConfig.released(
            width=16, heads=2, relation_heads=2, blocks=1, post_blocks=0, prompt_tokens=2,
            relation_tokens=2,
        ),
        LossConfig(),
        TrainConfig(
            steps=40,
            checkpoint_every=5,
            sampling=SamplingConfig(batch_size=8),
            optim=OptimConfig(),
        ),
    )  # fmt: skip


def test_a_run_of_version_1_goes_on_to_its_end(tmp_path):
    shutil.copytree(VERSION1 / "unfinished", tmp_path / "run")
    shutil.copytree(VERSION1 / "cache", tmp_path / "cache")
    summary = train([tmp_path / "cache"], tmp_path / "run", *old_config(), resume=True)
    assert (summary.steps, summary.interrupted) == (40, False)
    expected = load_file(VERSION1 / "run/adapter.safetensors")
    found = load_file(tmp_path / "run/adapter.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)
    assert read_record(tmp_path / "run")["shards"][0]["identity"] is not None


def test_a_run_of_version_1_refuses_other_labels(tmp_path):
    record = read_record(VERSION1 / "unfinished")
    scales = TargetScales.from_list(record["scales"])
    shard = record["shards"][0]
    now = shard | {"identity": "a" * 32, "labels_digest": "b" * 32}
    require_same_data(record, [now], scales, tmp_path)
    with pytest.raises(CheckpointError, match="22 labels then, 21 now"):
        require_same_data(record, [now | {"labels": 21}], scales, tmp_path)
    with pytest.raises(CheckpointError, match="means and deviations"):
        require_same_data(record, [now], TargetScales(scales=()), tmp_path)
    other = record | {"shards": [shard | {"dataset": "other"}]}
    with pytest.raises(CheckpointError, match=r"\(other\) then"):
        require_same_data(other, [now], scales, tmp_path)


def test_a_run_of_version_1_is_evaluated_as_then():
    evaluation = evaluate(VERSION1 / "run", [VERSION1 / "cache"])
    then = json.loads((VERSION1 / "run/eval.json").read_text("utf-8"))
    for before, now in zip(then["queries"], evaluation.to_dict()["queries"], strict=True):
        assert now["metrics"]["score"]["mae"] == pytest.approx(
            before["metrics"]["score"]["mae"], rel=1e-4
        )

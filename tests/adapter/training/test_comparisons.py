"""Training on comparisons, alone and beside labels."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from adapter.data.comparisons import ComparisonTable, select_comparisons
from adapter.data.labels import select_labels
from adapter.data.sampling import Sampler
from adapter.errors import CheckpointError, ConfigError, LabelsError
from adapter.evaluation.agreement import agreement
from adapter.network.losses import LossConfig, comparison_terms
from adapter.record import read_record
from adapter.run import Run
from adapter.settings import SamplingConfig

TRUTH = "beauty"


def answers(cache, count=200, seed=0, question=TRUTH):
    """Comparisons of the score that the tokens of the fake cache hold, without mistakes."""
    value = cache.features[:, 0, :, 1].mean(axis=1)
    generator = np.random.default_rng(seed)
    rows = []
    while len(rows) < count:
        i, j = generator.integers(0, len(cache), 2)
        if i != j:
            side = "left" if value[i] > value[j] else "right"
            rows.append((f"image-{i}", f"image-{j}", side, question))
    return ComparisonTable.of(rows, "answers")


def test_comparisons_alone_teach_both_heads(tmp_path, train_fake, make_cache):
    cache = make_cache(label_rows=[])
    table = answers(cache)
    train_fake(tmp_path, cache=cache, comparisons=table, steps=80, lr=4e-3, regression_weight=1.0)
    run = Run.load(tmp_path)
    unseen = select_comparisons([cache], answers(cache, seed=1))[0][0].questions[0]
    rows = np.arange(len(cache))
    for by in ("score", "comparison"):
        found = agreement(run.score(cache, rows, TRUTH, by=by), unseen)
        assert found.agreed / found.count > 0.85, by
    assert run.queries == (TRUTH,)
    record = read_record(tmp_path)["shards"][0]
    assert (record["comparisons"], record["labels"]) == (200, 0)


def test_resuming_gives_the_same_bits_and_other_answers_are_refused(
    tmp_path, train_fake, make_cache
):
    cache = make_cache()
    table = answers(cache, 40)

    def stop(event):
        if event.kind == "step" and event.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_fake(whole, cache=cache, comparisons=table)
    train_fake(parts, cache=cache, comparisons=table, on_event=stop)
    with pytest.raises(CheckpointError, match="comparisons of cache have changed: 40 then, 41"):
        train_fake(parts, cache=cache, comparisons=answers(cache, 41), resume=True)
    with pytest.raises(CheckpointError, match="40 then, 0 now"):
        train_fake(parts, cache=cache, resume=True)
    train_fake(parts, cache=cache, comparisons=table, resume=True)
    weights = [load_file(folder / "adapter.safetensors") for folder in (whole, parts)]
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name], err_msg=name)


def sampler(cache, table, **settings):
    selection = select_labels(cache, split="train")
    comparisons, _ = select_comparisons([cache], table)
    config = SamplingConfig(batch_size=8, **settings)
    return Sampler([selection], [cache.views], config, 3, comparisons)


def test_batches_mix_labels_and_comparisons_as_a_function_of_the_step(make_cache):
    cache = make_cache()
    mixed = sampler(cache, answers(cache, 30), comparison_share=0.25)
    compared = [mixed.batch(k).compared for k in range(400)]
    assert 60 < sum(compared) < 140
    k = compared.index(True)
    one, two = mixed.batch(k), sampler(cache, answers(cache, 30), comparison_share=0.25).batch(k)
    np.testing.assert_array_equal(one.rows, two.rows)
    np.testing.assert_array_equal(one.values, two.values)
    assert len(one) == 8
    np.testing.assert_array_equal(one.values[:4] + one.values[4:], 1)
    assert (one.prompt, one.query) == (TRUTH, TRUTH)


def test_labels_alone_are_drawn_as_before_there_were_comparisons(make_cache):
    cache = make_cache()
    selection = select_labels(cache, split="train")
    plain = Sampler([selection], [cache.views], SamplingConfig(), 0)
    batch = plain.batch(5)
    key = np.array([0, 5], np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key))
    generator.random()
    query = selection.queries[int(generator.random() * len(selection.queries))]
    assert batch.query == query.query


def test_two_terms_are_those_of_the_whole_and_a_tie_pulls_scores_together():
    shares = torch.tensor([1.0, 0.5, 0.0])
    differences = torch.tensor([0.3, 2.0, -1.0])
    logits = torch.randn(2, 3)
    whole = comparison_terms(shares, differences=differences, pair_logits=logits)
    parts = comparison_terms(
        shares[:1], differences=differences[:1], pair_logits=logits[:, :1]
    ) + comparison_terms(shares[1:], differences=differences[1:], pair_logits=logits[:, 1:])
    config = LossConfig()
    assert parts.comparison_losses(config).total == pytest.approx(
        float(whole.comparison_losses(config).total), rel=1e-6
    )
    expected = -torch.nn.functional.logsigmoid(torch.tensor([0.3, 1.0])).sum() - (
        0.5 * torch.nn.functional.logsigmoid(torch.tensor([2.0, -2.0])).sum()
    )
    assert whole.regression_sum == pytest.approx(float(expected), rel=1e-6)
    swapped = comparison_terms(1 - shares, pair_logits=logits.flip(0))
    assert swapped.ranking_sum == pytest.approx(float(whole.ranking_sum), rel=1e-6)


def test_what_cannot_be_trained_is_refused(tmp_path, train_fake, make_cache):
    cache = make_cache(label_rows=[])
    with pytest.raises(LabelsError):
        train_fake(tmp_path / "a", cache=cache)
    with pytest.raises(ConfigError, match="validation needs labels"):
        train_fake(tmp_path / "b", cache=cache, comparisons=answers(cache), validate_every=2)
    with pytest.raises(LabelsError, match="no tokens for 1"):
        train_fake(tmp_path / "c", cache=cache, comparisons=answers(cache, question="new"))
    with pytest.raises(ConfigError, match="comparison_share"):
        SamplingConfig(comparison_share=0)

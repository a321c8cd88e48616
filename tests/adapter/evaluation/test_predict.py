"""Predictions for one prompt, against the model itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adapter.errors import LabelsError
from adapter.evaluation.predict import predict
from adapter.network.comparison import rank_by_comparison
from adapter.run import Run


def test_comparison_ranks_by_pair_logits(trained):
    out, cache = trained
    run = Run.load(out)
    rows = np.arange(20)
    strengths = predict(run, cache, "beauty", rows, by="comparison")
    tokens = torch.from_numpy(cache.tokens(rows)).float()
    with torch.no_grad():
        summary = run.model.summarize(tokens, torch.from_numpy(cache.prompt("beauty").tokens))
        expected = rank_by_comparison(run.model, summary).numpy()
    np.testing.assert_allclose(strengths, expected, atol=1e-5)


def test_batches_do_not_change_predictions(trained, monkeypatch):
    out, cache = trained
    run = Run.load(out)
    rows = np.arange(23)
    whole = {by: predict(run, cache, "beauty", rows, by=by) for by in ("score", "comparison")}
    monkeypatch.setattr("adapter.evaluation.predict.BATCH", 5)
    for by, expected in whole.items():
        np.testing.assert_allclose(
            predict(run, cache, "beauty", rows, by=by), expected, rtol=1e-4, atol=1e-5
        )


def test_a_prompt_that_was_never_trained_on_can_be_ranked_by(trained):
    out, cache = trained
    cache.prompts["elegance"] = cache.prompts["beauty"]
    run = Run.load(out)
    rows = np.arange(8)
    scores = predict(run, cache, "elegance", rows)
    scale = run.scales.of_task(0, "score")
    known = predict(run, cache, "beauty", rows)
    np.testing.assert_allclose(scores, scale.standardize(known), atol=1e-6)
    np.testing.assert_allclose(predict(run, cache, "elegance", rows, task="score"), known)
    with pytest.raises(LabelsError, match="featcache prompts"):
        predict(run, cache, "grace", rows)

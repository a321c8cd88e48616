"""How far a run is ahead of ridge."""

from dataclasses import replace

import numpy as np
import pytest

from adapter.evaluation.metrics import measure
from adapter.pages.margin import margin
from adapter.pages.page import QueryReport

IMAGES = 200


def report(noise: dict[str, float], seed: int = 0) -> QueryReport:
    draw = np.random.default_rng(seed)
    values = draw.normal(size=IMAGES)
    predictions = {name: values + much * draw.normal(size=IMAGES) for name, much in noise.items()}
    return QueryReport(
        folder=0,
        dataset="set",
        task="task",
        query=f"sort images by {seed}.",
        paths=[f"{n}.png" for n in range(IMAGES)],
        values=values,
        scores=predictions["both, score"],
        same_unit=True,
        metrics={name: measure(values, found) for name, found in predictions.items()},
        predictions=predictions,
        shown="both, score",
    )


def found(queries):
    names = queries[0].metrics
    srcc = {name: np.mean([q.metrics[name].srcc for q in queries]) for name in names}
    means = {name: replace(queries[0].metrics[name], srcc=srcc[name]) for name in names}
    return margin(queries, means, ["both, score", "missing"], ["ridge", "worse"]), srcc


def test_a_better_method_is_ahead_of_the_best_of_the_others():
    noise = {"both, score": 0.2, "ridge": 0.5, "worse": 1.0}
    ahead, srcc = found([report(noise, seed) for seed in range(4)])
    assert (ahead.method, ahead.other) == ("both, score", "ridge")
    assert ahead.difference == pytest.approx(srcc["both, score"] - srcc["ridge"])
    assert 0 < ahead.low < ahead.difference < ahead.high
    assert (ahead.ahead, ahead.queries) == (4, 4)
    assert "ahead of “ridge”" in str(ahead)
    assert "ahead in 4 of 4 queries" in str(ahead)
    assert "noise" not in str(ahead)


def test_noise_is_called_noise_and_a_worse_method_behind():
    ahead, _ = found([report({"both, score": 0.5, "ridge": 0.5}, 5)])
    assert ahead.low < 0 < ahead.high
    assert "within noise" in str(ahead)
    ahead, _ = found([report({"both, score": 0.9, "ridge": 0.2}, 0)])
    assert ahead.high < 0
    assert "behind “ridge” (95 % interval −" in str(ahead)
    assert "ahead in 0 of 1 query." in str(ahead)


def test_there_is_none_without_the_other_side():
    query = report({"both, score": 0.5})
    assert margin([query], query.metrics, ["both, score"], ["ridge"]) is None
    assert margin([], query.metrics, ["both, score"], ["both, score"]) is None

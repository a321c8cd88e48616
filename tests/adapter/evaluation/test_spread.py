"""Several runs in one table: one set of queries for all."""

from __future__ import annotations

import numpy as np
import pytest

from adapter.evaluation.metrics import measure
from adapter.evaluation.results import Evaluation, QueryEvaluation
from adapter.evaluation.spread import Spread

LABELS = np.array([1.0, 2.0, 3.0, 5.0])


def evaluation(errors, *, trained=True):
    """One query per name: labels, and predictions that are off by an error."""
    queries = []
    for name, error in errors.items():
        predictions = {"score": LABELS * (0 if error is None else 1) + (error or 0.0)}
        queries.append(
            QueryEvaluation(
                cache=0,
                dataset="set",
                task="task",
                query=name,
                rows=np.arange(4),
                values=LABELS,
                predictions=predictions,
                metrics={"score": measure(LABELS, predictions["score"])},
                positive=None,
                positive_n=0,
                trained=trained,
            )
        )
    return Evaluation(
        run="run", split=("test",), fold=None, precision="fp32", queries=tuple(queries), left_out=0
    )


def test_mean_and_spread_over_runs():
    spread = Spread(evaluations=(evaluation({"a": 1, "b": 3}), evaluation({"a": 2, "b": 6})))
    assert spread.spread("mae") == (3.0, pytest.approx(np.std([2, 4], ddof=1)), 2)
    assert spread.notes == ()
    assert "3.000 ± 1.414" in spread.to_markdown()
    assert spread.to_dict()["score"]["mae"] == {
        "mean": 3.0,
        "std": pytest.approx(2**0.5),
        "runs": 2,
    }


def test_a_query_that_one_run_lacks_is_in_no_mean():
    spread = Spread(evaluations=(evaluation({"a": 1, "b": 9}), evaluation({"a": 3})))
    assert spread.spread("mae")[0] == 2.0
    (note,) = spread.notes
    assert "over the 1 query that" in note
    assert "'b'" in note


def test_a_metric_that_is_undefined_in_one_run_takes_its_query_from_all():
    """Constant predictions have no rank correlation, but an error."""
    spread = Spread(evaluations=(evaluation({"a": 1, "b": None}), evaluation({"a": 1, "b": 1})))
    assert spread.spread("srcc") == (1.0, 0.0, 2)
    assert spread.spread("mae")[0] == pytest.approx(np.mean([(1 + LABELS.mean()) / 2, 1]))


def test_no_runs():
    empty = Spread(evaluations=())
    assert (empty.rankings, empty.to_dict()) == ((), {})

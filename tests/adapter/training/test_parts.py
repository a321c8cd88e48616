"""A stacked run: parts that do not see what they predict, one scorer, resumed bit for bit."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from adapter.data.labels import select_labels
from adapter.errors import ConfigError, LabelsError
from adapter.evaluation.evaluate import evaluate
from adapter.network.config import AdapterConfig
from adapter.network.losses import LossConfig
from adapter.run import Run
from adapter.settings import TrainConfig
from adapter.stacking.stack import LINES, STACK
from adapter.training.parts import FOLDER, part_images, without_part
from adapter.training.prepare import prepare

FILES = ("adapter.safetensors", LINES, STACK)


def contents(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def stacked(tmp_path_factory, train_fake, make_cache):
    """A stacked run, and the cache that it learned from."""
    out = tmp_path_factory.mktemp("stacked")
    train_fake(out, steps=20, lr=3e-3, stack_parts=3)
    return out, make_cache()


def prepared(cache, **changes):
    config = TrainConfig.best(**changes)
    return prepare([cache], "best", LossConfig.best(), config, torch.device("cpu"))


def test_a_stacked_run_is_complete_without_its_parts(stacked):
    out, cache = stacked
    assert not (out / FOLDER).exists()
    assert not (out / "state").exists()
    run = Run.load(out)
    assert run.stack is not None
    trained = select_labels(cache, split="train")
    assert [q.query for q in run.stack.queries] == [q.query for q in trained.queries]
    assert all(q.adapter_weight >= 0 <= q.line_weight for q in run.stack.queries)


def test_parts_hold_every_image_once(cache):
    run = prepared(cache)
    selection = run.selections[0]
    parts = [part_images(selection, 3, part, 0) for part in range(3)]
    assert np.array_equal(np.sort(np.concatenate(parts)), selection.image_rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert not np.array_equal(parts[0], part_images(selection, 3, 0, 1))


def test_a_part_draws_no_image_that_it_predicts(cache):
    run = prepared(cache, steps=10)
    for part in range(3):
        held = part_images(run.selections[0], 3, part, 0)
        rest = without_part(run, part)
        assert not np.isin(rest.sampler.image_rows(0), held).any()
        assert (rest.config.steps, rest.config.stack_parts) == (6, 0)
        for step in range(20):
            assert not np.isin(rest.sampler.batch(step).rows, held).any()


def test_poisoned_labels_do_not_reach_the_adapter_that_predicts_them(
    tmp_path, train_fake, make_cache, monkeypatch
):
    """Labels of a part are made absurd: what is predicted for that part stays the same."""
    found = {}

    def keep(run, learned):
        found[name] = learned
        raise KeyboardInterrupt

    monkeypatch.setattr("adapter.training.train.fit_stack", keep)
    clean = make_cache()
    selection = select_labels(clean, split="train", queries=("beauty",))
    held = part_images(selection, 3, 1, 0)
    absurd = [
        (n, t, q, v + 1000.0 if q == "beauty" and int(n[6:]) in held else v, s, f)
        for n, t, q, v, s, f in clean.label_rows
    ]
    for name, cache in {"clean": clean, "poisoned": make_cache(label_rows=absurd)}.items():
        with pytest.raises(KeyboardInterrupt):
            train_fake(tmp_path / name, cache=cache, steps=5, stack_parts=3, queries=("beauty",))
    rows = found["clean"].labels[0][0].rows
    one, two = (found[name].predictions[0][0] for name in ("clean", "poisoned"))
    inside = np.isin(rows, held)
    assert np.array_equal(one[inside], two[inside])
    assert not np.allclose(one[~inside], two[~inside])
    assert np.isfinite(one).all()


def test_test_labels_do_not_matter(tmp_path, stacked, train_fake, make_cache):
    out, _ = stacked
    rows = make_cache().label_rows
    absurd = [(n, t, q, v + 50 if s == "test" else v, s, f) for n, t, q, v, s, f in rows]
    train_fake(tmp_path, cache=make_cache(label_rows=absurd), steps=20, lr=3e-3, stack_parts=3)
    assert contents(tmp_path) == contents(out)


@pytest.mark.parametrize("stop", [2, 14, 40])
def test_a_stopped_stack_goes_on_bit_for_bit(tmp_path, stacked, train_fake, stop):
    """Stopped in the first part, in the second, and in the run itself."""
    out, _ = stacked
    options = {"steps": 20, "lr": 3e-3, "stack_parts": 3}
    count = 0

    def interrupt(event):
        nonlocal count
        count += event.kind == "step"
        if event.kind == "step" and count == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    summary = train_fake(tmp_path, on_event=interrupt, **options)
    assert summary.interrupted
    assert not (tmp_path / STACK).exists()
    summary = train_fake(tmp_path, resume=True, **options)
    assert not summary.interrupted
    assert contents(tmp_path) == contents(out)
    assert not (tmp_path / FOLDER).exists()


def test_a_run_that_was_killed_in_a_part_goes_on_bit_for_bit(tmp_path, stacked, train_fake):
    out, _ = stacked
    options = {"steps": 20, "lr": 3e-3, "stack_parts": 3, "checkpoint_every": 5}
    count = 0

    def die(event):
        nonlocal count
        count += event.kind == "step"
        if count == 19:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train_fake(tmp_path, on_event=die, **options)
    train_fake(tmp_path, resume=True, **options)
    assert contents(tmp_path) == contents(out)


def test_score_and_comparison_hold_the_line(stacked):
    out, cache = stacked
    run = Run.load(out)
    alone = replace(run, stack=None)
    rows = np.arange(20)
    query = run.stack.find("beauty")
    line = query.regress(cache, rows, cache.views)
    each = [alone.score(cache, rows, "beauty", view=view) for view in cache.views]
    score = run.score(cache, rows, "beauty")
    assert np.allclose(score, query.combine(np.mean(each, axis=0), line))
    strengths = [
        alone.score(cache, rows, "beauty", by="comparison", view=view) for view in cache.views
    ]
    strength = np.mean(strengths, axis=0)
    mean = np.mean(each, axis=0)
    like = (strength - strength.mean()) / strength.std() * mean.std() + mean.mean()
    found = run.score(cache, rows, "beauty", by="comparison")
    assert np.allclose(found, query.combine(like, line))
    one = run.score(cache, rows[:1], "beauty", by="comparison")
    assert np.allclose(one, run.score(cache, rows[:1], "beauty"))


def test_a_query_that_was_not_trained_is_ranked_by_the_adapter_alone(tmp_path, train_fake, cache):
    train_fake(tmp_path, steps=6, stack_parts=2, queries=("beauty",))
    run = Run.load(tmp_path)
    rows = np.arange(10)
    each = [
        replace(run, stack=None).score(cache, rows, "number of cats.", view=view)
        for view in cache.views
    ]
    assert np.allclose(run.score(cache, rows, "number of cats."), np.mean(each, axis=0))
    found = evaluate(run, [cache], queries=("*",))
    assert {q.query: q.trained for q in found.queries} == {
        "beauty": True,
        "number of cats.": False,
        "number of dogs.": False,
    }


def test_evaluation_and_scores_are_the_same_numbers(stacked):
    out, cache = stacked
    found = evaluate(out, [cache], queries=("beauty",)).queries[0]
    run = Run.load(out)
    assert np.array_equal(found.predictions["score"], run.score(cache, found.rows, "beauty"))


def test_few_labels_and_several_caches(tmp_path, train_fake, make_cache):
    small = make_cache(images=8, path="a")
    other = make_cache(images=24, path="b", seed=1)
    train_fake(tmp_path, cache=[small, other], steps=4, stack_parts=2)
    run = Run.load(tmp_path)
    assert {q.cache for q in run.stack.queries} == {0, 1}
    for number, cache in enumerate((small, other)):
        assert run.stacked(cache, "beauty").cache == number
        assert np.isfinite(run.score(cache, np.arange(len(cache)), "beauty")).all()


def test_what_cannot_be_stacked_is_refused(tmp_path, train_fake, cache):
    with pytest.raises(ConfigError, match=r"train\.stack_parts=0"):
        train_fake(tmp_path, stack_parts=3, regression="none")
    with pytest.raises(ConfigError, match="at least 2"):
        TrainConfig(stack_parts=1)
    with pytest.raises(ConfigError, match="stack_steps"):
        TrainConfig(stack_steps=0.0)
    assert TrainConfig.best().stack_parts == 3
    assert TrainConfig.released() == TrainConfig.paper() == TrainConfig()
    assert AdapterConfig.best() == AdapterConfig.released()
    assert LossConfig.best() == LossConfig.released()


def test_one_labeled_image_is_too_few(make_cache):
    cache = make_cache()
    cache.label_rows[:] = [("image-0", "score", "beauty", 1.0, "train", None)]
    with pytest.raises(LabelsError, match=r"one labeled image to train on, .* --preset released"):
        prepared(cache)

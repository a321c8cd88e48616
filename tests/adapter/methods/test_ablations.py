"""Parts of a method that its paper says help do help, on features that hold the answer.

Images lie near the prompt of their count, along a line in the order of counts, and in noise. Patch
tokens hold the order too, with noise of their own. Three seeds each; the difference has to be
larger than the spread.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from adapter.methods import get
from adapter.methods.method import FoldData, Part

CLASSES = 8
NAMES = tuple(str(number) for number in range(CLASSES))
PROMPTS = tuple(f"A photo of {name} cats." for name in NAMES)


@pytest.fixture
def errors(soft_text, make_vectors, tmp_path):
    """Return a function: the mean absolute error [3] of a method's form, per seed."""
    folders = (tmp_path / str(number) for number in itertools.count())

    def run(
        name,
        *,
        train=64,
        test=200,
        near=0.15,
        order=0.5,
        noise=1.0,
        between=False,
        query="sort images by the number of cats.",
        **fields,
    ):
        generator = np.random.default_rng(7)
        count = train + test
        y = (
            generator.uniform(0, CLASSES - 1, count)
            if between
            else generator.integers(0, CLASSES, count).astype(float)
        )
        prompts = soft_text.encode(PROMPTS).numpy()
        prompts = prompts - prompts.mean(axis=0)
        prompts /= np.linalg.norm(prompts, axis=1, keepdims=True)
        below = np.floor(y).astype(int)
        share = (y - below)[:, None]
        own = (1 - share) * prompts[below] + share * prompts[np.minimum(below + 1, CLASSES - 1)]

        def along(width):
            line = generator.normal(size=width)
            place = order * (y / (CLASSES - 1) - 0.5)[:, None]
            return np.sqrt(width) * place * line / np.linalg.norm(line)

        dim = prompts.shape[1]
        pooled = np.sqrt(dim) * near * own + along(dim) + generator.normal(size=(count, dim))
        tokens = along(32) + noise * generator.normal(size=(count, 32))
        rows = np.arange(count)
        found = []
        for seed in range(3):
            data = FoldData(
                cache=None,
                vectors=make_vectors(pooled.astype(np.float32), tokens.astype(np.float32)),
                text=lambda: soft_text,
                task="count",
                query=query,
                fold=None,
                seed=seed,
                train=Part(rows=rows[:train], values=y[:train]),
                val=Part(rows=rows[:0], values=y[:0]),
                test=Part(rows=rows[train:], values=y[train:]),
                class_values=np.arange(CLASSES, dtype=np.float64),
                class_names=NAMES,
                class_prompts=PROMPTS,
                antonyms=("many cats.", "no cats."),
                device="cpu",
                folder=next(folders),
                scale=(0.0, CLASSES - 1.0),
                binned=between,
            )
            predicted = get(name, **fields).fit(data).predict(data.vectors, data.test.rows)
            found.append(np.abs(predicted.values - data.test.values).mean())
        return np.array(found)

    return run


def assert_worse(ablated: np.ndarray, whole: np.ndarray) -> None:
    """Require a larger error, by more than both spreads together."""
    spread = np.hypot(ablated.std(ddof=1), whole.std(ddof=1))
    assert ablated.mean() - whole.mean() > spread, (ablated, whole)


@pytest.mark.slow
def test_l2rclip_without_its_ordinal_loss(errors):
    short = {"context": 4, "hidden": 64, "steps": 80, "lr": 0.02}
    whole = errors("l2rclip", **short)
    assert_worse(errors("l2rclip", **short, ordinal_weight=0.0), whole)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["fine", "calibrated"])
def test_numclip_without_its_fine_head_or_its_calibration(errors, part):
    short = {"words": ("no", "some", "many"), "starts": (0.0, 2.3, 4.6), "steps": 100, "lr": 0.01}
    settings = {"train": 100, "between": True}
    whole = errors("numclip", **short, **settings)
    assert_worse(errors("numclip", **short, **settings, **{part: False}), whole)


@pytest.mark.slow
def test_countingclip_without_its_counterfactual_loss(errors):
    """It helps early: once the cross-entropy over all captions has converged, both are alike."""
    # Asked as classes, which gives the captions of eight counts and not those of a hundred.
    settings = {"steps": 20, "lr": 3e-3, "train": 200, "query": "sort images by how full they are."}
    whole = errors("countingclip", **settings)
    assert_worse(errors("countingclip", **settings, counterfactual=0.0), whole)


@pytest.mark.slow
@pytest.mark.parametrize("alone", ["tags", "contrast"])
def test_tmcr_with_one_of_its_parts_alone(errors, alone):
    short = {"width": 64, "encoder_steps": 40, "epochs": 20, "lr": 3e-3, "pooling": "mean"}
    settings = {"train": 120, "between": True, "noise": 0.5}
    whole = errors("tmcr-frozen", **short, **settings)
    assert_worse(errors("tmcr-frozen", **short, **settings, parts=alone), whole)

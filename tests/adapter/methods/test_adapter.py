"""The adapter among the methods: it learns, not from shuffled labels, and sees no test label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from adapter.methods import Adapter, FoldData, ImageVectors, Part
from adapter.methods.adapter import settings
from adapter.network.config import AdapterConfig

QUERY = "beauty"
TINY = AdapterConfig.released(
    width=16,
    heads=2,
    blocks=1,
    post_blocks=1,
    prompt_tokens=2,
    relation_tokens=3,
    relation_heads=2,
)


@pytest.fixture
def learn(make_cache, tmp_path):
    """Return a function: labels of the test part, and what is predicted, after so many steps."""

    def run(steps, change=lambda labels: labels, name="fit"):
        cache = make_cache(images=240)
        before = [label for label in cache.label_rows if label[2] == QUERY]
        cache.label_rows = change(before)
        parts = {
            split: Part(
                rows=np.array([int(n.split("-")[1]) for n, *_, s, _ in before if s == split]),
                values=np.array([v for *_, v, s, _ in before if s == split]),
            )
            for split in ("train", "val", "test")
        }
        data = FoldData(
            cache=cache,
            vectors=ImageVectors(cache),
            text=lambda: None,
            task="score",
            query=QUERY,
            fold=None,
            seed=0,
            **parts,
            class_values=np.array([0.0, 1.0]),
            class_names=("ugly", "beautiful"),
            class_prompts=("an ugly photo.", "a beautiful photo."),
            antonyms=("a beautiful photo.", "an ugly photo."),
            device="cpu",
            folder=tmp_path / name,
        )
        method = Adapter(model=TINY, train=settings(steps, 3e-3, batch_size=16, precision="fp32"))
        found = method.fit(data).predict(data.vectors, data.test.rows)
        return data.test.values, found.values

    return run


def shuffled(labels):
    values = np.random.default_rng(1).permutation([label[3] for label in labels])
    return [(*a[:3], float(v), *a[4:]) for a, v in zip(labels, values, strict=True)]


def poisoned(labels):
    return [(*a[:3], 1e6 if a[4] == "test" else a[3], *a[4:]) for a in labels]


def test_learns_a_planted_order_and_nothing_from_shuffled_labels(learn):
    assert spearmanr(*learn(200)).statistic > 0.5
    assert abs(spearmanr(*learn(200, shuffled, "shuffled")).statistic) < 0.35


def test_never_sees_a_test_label(learn):
    _, clean = learn(12)
    _, again = learn(12, poisoned, "poisoned")
    np.testing.assert_array_equal(clean, again)


def test_the_quick_form_is_small():
    quick = Adapter().quick()
    assert quick.model.width <= 32
    assert quick.train.steps <= 80
    assert replace(quick, model=TINY).quick().model.width == 16

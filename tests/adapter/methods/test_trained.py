"""What holds for every trained method: it learns, not from shuffled labels, and its files work."""

from __future__ import annotations

import dataclasses
import signal

import numpy as np
import pytest
from scipy.stats import spearmanr

from adapter.methods import ImageVectors, get, load_predictor, loop, save_predictor
from adapter.methods.zero_shot import ZeroShot

# Small enough for seconds, each with the rate that suits so few steps.
METHODS = {
    "clip-iqa-plus": {"recipe": "improved", "context": 4, "steps": 100, "lr": 0.05},
    "coop": {"context": 4, "steps": 60, "lr": 0.05},
    "coop-printed": {"steps": 60, "lr": 0.02},
    "ordinal-clip": {"context": 4, "base_ranks": 4, "init_words": "", "steps": 100, "lr": 0.05},
    "l2rclip": {"context": 4, "hidden": 64, "steps": 80, "lr": 0.02},
    "numclip": {"steps": 80, "lr": 0.01},
    "clip-tuned": {"steps": 80, "lr": 0.01},
    "countingclip": {"steps": 80, "lr": 0.01},
    "tmcr-frozen": {"width": 64, "encoder_steps": 20, "epochs": 10, "lr": 5e-3, "pooling": "mean"},
    "ridge": {},
    "softmax": {},
}


# Where so few steps end far apart for different seeds.
LONGER = {
    "coop": {"steps": 200, "lr": 0.02},
    "tmcr-frozen": {"width": 128, "encoder_steps": 40, "epochs": 30, "lr": 2e-3},
}

SHORT = {"steps": 6, "encoder_steps": 6, "epochs": 1}


def short(name) -> dict:
    """Return a method's settings with a handful of steps."""
    return METHODS[name] | {key: n for key, n in SHORT.items() if key in METHODS[name]}


def order(predictor, data) -> float:
    found = predictor.predict(data.vectors, data.test.rows)
    return float(spearmanr(found.values, data.test.values).statistic)


@pytest.mark.parametrize("name", METHODS)
def test_learns_beats_zero_shot_and_survives_the_disk(make_fold, accuracy, tmp_path, name):
    data = make_fold(aligned=0.05)
    method = get(name, **METHODS[name])
    predictor = method.fit(data)
    assert order(predictor, data) > 0.8
    # The state of the finished fit is on the disk, so that this does not fit again.
    assert accuracy(method, data) > accuracy(ZeroShot(), data) + 0.08
    save_predictor(tmp_path / name, predictor, {"method": name})
    again = load_predictor(tmp_path / name)
    np.testing.assert_array_equal(
        again.predict(data.vectors, data.test.rows).values,
        predictor.predict(data.vectors, data.test.rows).values,
    )


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("ridge", "softmax")])
def test_learns_nothing_from_shuffled_labels(make_fold, name):
    data = make_fold(aligned=0.05, shuffle=True)
    assert abs(order(get(name, **METHODS[name]).fit(data), data)) < 0.35


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("ridge", "softmax")])
def test_never_sees_a_test_label_and_goes_on_where_it_was_stopped(make_fold, monkeypatch, name):
    """Two fits of one seed end alike, though one has poisoned labels and is stopped, twice."""
    monkeypatch.setattr(loop, "REPORT_EVERY", 1)
    method, data = get(name, **short(name)), make_fold(60)
    told = []

    def stop(done, steps):
        told.append((done, steps))
        if len(told) in (3, 11):  # TMCR is in its second loop then
            signal.raise_signal(signal.SIGINT)

    poison = dataclasses.replace(data.test, values=np.full(len(data.test.values), np.nan))
    stopped = make_fold(60, test=poison, on_progress=stop)
    with pytest.raises(KeyboardInterrupt):
        method.fit(stopped)
    try:
        again = method.fit(stopped)
    except KeyboardInterrupt:
        assert name == "tmcr-frozen"
        again = method.fit(stopped)
    np.testing.assert_array_equal(
        method.fit(data).predict(data.vectors, data.test.rows).values,
        again.predict(data.vectors, data.test.rows).values,
    )


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("ridge", "softmax")])
@pytest.mark.parametrize("scale", [(0.0, 10.0), (-3.0, -1.0)])
def test_other_scales_of_labels_work(make_fold, name, scale):
    low, high = scale
    plain = make_fold(60)

    def move(values):
        return low + (high - low) * (values - 10.0) / 3.0

    data = dataclasses.replace(
        plain,
        train=dataclasses.replace(plain.train, values=move(plain.train.values)),
        class_values=move(plain.class_values),
    )
    found = get(name, **short(name)).fit(data).predict(data.vectors, data.test.rows).values
    assert np.isfinite(found).all()
    assert low - 0.5 * (high - low) <= found.min() <= found.max() <= high + 0.5 * (high - low)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_beats_zero_shot_by_more_than_the_spread_of_seeds(make_fold, accuracy, name):
    plain = accuracy(ZeroShot(), make_fold(aligned=0.05))
    method = get(name, **METHODS[name] | LONGER.get(name, {}))
    found = [accuracy(method, make_fold(aligned=0.05, seed=seed)) for seed in range(3)]
    assert np.mean(found) - plain > 2 * np.std(found, ddof=1)


def test_attention_reads_tokens_of_any_cache(make_fold, tmp_path):
    """The default pooling of TMCR reads patch tokens, from the cache that it is applied to."""
    data = make_fold(60)

    class Tokens:
        views = ("original",)

        def tokens(self, rows, view="original"):
            means = data.vectors.mean_tokens[rows]
            return np.stack([means, -means, 0 * means], axis=1).astype(np.float16)

    vectors = data.vectors
    vectors.cache = Tokens()
    method = get("tmcr-frozen", width=16, encoder_steps=4, epochs=1)
    predictor = method.fit(data)
    save_predictor(tmp_path / "tmcr", predictor)
    again = load_predictor(tmp_path / "tmcr")
    first, second = (p.predict(vectors, data.test.rows).values for p in (predictor, again))
    np.testing.assert_array_equal(first, second)
    shares = predictor.distributions(vectors, data.test.rows)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)


def test_image_vectors_are_exported():
    assert ImageVectors.__name__ == "ImageVectors"

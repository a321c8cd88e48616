"""Fitting to a query of a real cache, keeping, ranking, evaluating."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from adapter.errors import CheckpointError, ConfigError, LabelsError
from adapter.methods.fitted import Fitted, fit_method, is_fitted
from adapter.methods.fold import fold_of
from featcache import Cache

SMALL = Path(__file__).parents[2] / "data" / "version1" / "cache"
COUNT = "sort images by the number of objects."
EARLY = "sort images by how early they were drawn."


@pytest.fixture(scope="module")
def cache():
    return Cache.open(SMALL)


def test_a_fold_names_classes_by_the_labels(cache):
    data = fold_of(cache, COUNT, seed=3)
    assert len(data.train.rows) == 11
    assert len(data.test.rows) == 3
    assert data.seed == 3
    assert data.class_values.tolist() == sorted(set(data.train.values))
    assert data.class_prompts[0] == f"a photo of {data.class_names[0]} objects."
    assert not data.binned
    assert fold_of(cache, EARLY).binned  # labels such as 14.5 fall into bins


def test_queries_and_splits_that_are_not_there(cache):
    with pytest.raises(LabelsError, match=r"no query .* there are sort images by the number"):
        fold_of(cache, "sort images by beauty.")  # says what there is
    for scale in ((0, 1), (5, 5), (9, 3)):
        with pytest.raises(LabelsError, match="does not hold the training labels"):
            fold_of(cache, COUNT, scale=scale)
    assert fold_of(cache, COUNT, scale=(-5, 50)).value_range == (-5, 50)
    with pytest.raises(LabelsError, match="no split 'validation'; there are"):
        fold_of(cache, COUNT, split="validation")
    with pytest.raises(LabelsError, match="no fold 7"):
        fold_of(cache, COUNT, fold=7)
    assert fold_of(cache, f" {COUNT} ").query == COUNT


def test_what_a_fit_has_seen_before_is_said(cache, tmp_path):
    fit_method("ridge", cache, COUNT, tmp_path / "fit")
    fitted = Fitted.load(tmp_path / "fit")
    assert fitted.notes(cache) == []
    (note,) = fitted.notes(cache, split=" test , train ")
    assert "of 14 evaluated images, this run was trained on 11" in note
    with pytest.raises(LabelsError, match="no fold 7"):
        fitted.evaluate(cache, fold=7)


@pytest.mark.parametrize("name", ["ridge", "zero-shot", "clip-iqa", "numclip", "tmcr-frozen"])
def test_fit_keep_rank_and_evaluate(cache, tmp_path, name):
    out = tmp_path / "fit"
    summary = fit_method(name, cache, COUNT, out, quick=True)
    assert (summary.method, summary.images) == (name, 11)
    assert is_fitted(out)
    assert not is_fitted(tmp_path)
    assert sorted(p.name for p in out.iterdir()) == ["method.json", "method.safetensors"]
    moved = shutil.move(out, tmp_path / "moved")
    fitted = Fitted.load(moved)
    ranking = fitted.rank(cache)
    assert ranking.query == COUNT
    assert len(ranking.paths) == len(cache) == 14
    assert (np.diff(ranking.scores) <= 0).all()
    assert list(ranking.failed) == ["img/broken.png"]
    found = fitted.evaluate(cache)
    assert found.images == 3
    assert np.isfinite(found.metrics.mae)
    classifies = name in ("zero-shot", "numclip")
    assert (found.likeliest is not None) == classifies
    if found.likeliest is not None:
        assert found.likeliest.mae * 3 == round(found.likeliest.mae * 3)  # whole counts


def test_the_adapter_is_a_method_like_others(cache, tmp_path):
    out = tmp_path / "fit"
    fit_method("adapter", cache, COUNT, out, quick=True)
    fitted = Fitted.load(shutil.move(out, tmp_path / "moved"))
    assert len(fitted.rank(cache).paths) == 14


def test_what_is_there_is_not_replaced(cache, tmp_path):
    fit_method("ridge", cache, COUNT, tmp_path)
    with pytest.raises(ConfigError, match="holds a fitted method already"):
        fit_method("ridge", cache, COUNT, tmp_path)


def test_a_stopped_fit_goes_on_with_its_own_settings_alone(cache, tmp_path, monkeypatch):
    from adapter.methods import loop

    whole = fit_method("clip-tuned", cache, COUNT, tmp_path / "whole", settings={"steps": 12})
    ask = {"settings": {"steps": 12}}
    save, calls = loop._save, []

    def stop(*arguments):
        save(*arguments)
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "_save", stop)
    with pytest.raises(KeyboardInterrupt):
        fit_method("clip-tuned", cache, COUNT, tmp_path / "stopped", **ask)
    with pytest.raises(ConfigError, match="settings"):
        fit_method("clip-tuned", cache, COUNT, tmp_path / "stopped", settings={"steps": 13})
    with pytest.raises(ConfigError, match="seed"):
        fit_method("clip-tuned", cache, COUNT, tmp_path / "stopped", seed=1, **ask)
    fit_method("clip-tuned", cache, COUNT, tmp_path / "stopped", **ask)
    scores = [Fitted.load(tmp_path / name).rank(cache).scores for name in ("whole", "stopped")]
    np.testing.assert_array_equal(*scores)
    assert whole.images == 11


def test_a_record_without_its_features(cache, tmp_path):
    fit_method("ridge", cache, COUNT, tmp_path)
    record = (tmp_path / "method.json").read_text()
    (tmp_path / "method.json").write_text(record.replace('"fingerprint"', '"finger"'))
    with pytest.raises(CheckpointError, match="fingerprint"):
        Fitted.load(tmp_path)

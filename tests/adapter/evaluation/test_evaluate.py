from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from adapter.errors import CheckpointNotFoundError, ConfigError, LabelsError
from adapter.evaluation.evaluate import evaluate, validation_value
from adapter.evaluation.metrics import measure
from adapter.network.config import AdapterConfig
from adapter.network.losses import LossConfig
from adapter.run import Run
from adapter.settings import TrainConfig
from adapter.training.sweep import train_sweep
from featcache.errors import FingerprintMismatchError


def test_predictions_are_the_model_s_scores_in_units(trained):
    out, cache = trained
    run = Run.load(out)
    evaluation = evaluate(run, [cache], split="test", by=["score"])
    beauty = next(q for q in evaluation.queries if q.query == "beauty")
    tokens = torch.from_numpy(cache.tokens(beauty.rows)).float()
    prompt = torch.from_numpy(cache.prompt("beauty").tokens)
    with torch.no_grad():
        scores = run.model(tokens, prompt).double().numpy()
    scale = run.scales.of_task(0, "score")
    np.testing.assert_allclose(
        beauty.predictions["score"], scores * scale.std + scale.mean, rtol=1e-5, atol=1e-6
    )
    expected = measure(beauty.values, beauty.predictions["score"])
    assert beauty.metrics["score"].srcc == expected.srcc
    assert beauty.metrics["score"].srcc > 0.3
    labels = {n: v for n, _, q, v, s, _ in cache.label_rows if q == "beauty" and s == "test"}
    assert [labels[f"image-{r}"] for r in beauty.rows] == beauty.values.tolist()


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        ({"a": [1, 2, 3], "b": [1, 2, 3]}, 1.0),
        ({"a": [1, 2, 3], "b": [5, 5, 5]}, 0.5),  # equal predictions do not leave the mean
        ({"a": [4, 4, 4], "b": [5, 5, 5]}, None),
    ],
)
def test_a_validation_is_over_the_same_queries_at_every_step(monkeypatch, predictions, expected):
    def given(model, cache, rows, query, ways, **options):
        return {ways[0]: np.array(predictions.get(query, [1, 2, 3]), float)}

    monkeypatch.setattr("adapter.evaluation.evaluate.predict_rankings", given)
    model = torch.nn.Identity()
    model.config = SimpleNamespace(score_head=False)
    labels = [
        SimpleNamespace(query=query, task="t", rows=np.arange(3), values=np.array(values, float))
        for query, values in {"a": [1, 2, 3], "b": [1, 2, 3], "constant": [7, 7, 7]}.items()
    ]
    value = validation_value(
        *(model, [None], [SimpleNamespace(queries=labels)], None, "srcc"),
        device="cpu",
        precision="fp32",
    )
    assert (None if np.isnan(value) else value) == expected


def test_counts_are_also_measured_from_one_on(trained):
    out, cache = trained
    cache.label_rows.append(("image-3", "count", "number of cats.", 0.0, "none", None))
    zeros = [
        (f"image-{i}", "count", "number of dogs.", 0.0, "zeros", None)
        for i in range(60)
        if not any(r[0] == f"image-{i}" and "dogs" in r[2] for r in cache.label_rows)
    ]
    cache.label_rows.extend(zeros)
    evaluation = evaluate(out, [cache], split=["test", "zeros"])
    dogs = next(q for q in evaluation.queries if "dogs" in q.query)
    assert dogs.positive is not None
    assert dogs.positive_n == int((dogs.values >= 1).sum()) < len(dogs.rows)
    keep = dogs.values >= 1
    expected = measure(dogs.values[keep], dogs.predictions["score"][keep])
    assert dogs.positive["score"].mae == pytest.approx(expected.mae)
    beauty = next(q for q in evaluation.queries if q.query == "beauty")
    assert beauty.positive is None
    table = evaluation.to_markdown()
    assert "number of dogs. (counts from 1)" in table
    assert "mean of 2 queries (counts from 1)" in table
    assert evaluation.overall_positive("score", ("fake", "score")) is None
    del cache.label_rows[-len(zeros) - 1 :]


def test_means_are_over_queries_and_tasks(trained):
    out, cache = trained
    evaluation = evaluate(out, [cache], by=["score"])
    values = [q.metrics["score"].srcc for q in evaluation.queries]
    assert evaluation.overall("score").mean.srcc == pytest.approx(np.nanmean(values))
    counts = [q.metrics["score"].srcc for q in evaluation.queries if q.task == "count"]
    assert evaluation.overall("score", ("fake", "count")).mean.srcc == pytest.approx(
        np.nanmean(counts)
    )


def test_json_and_markdown(trained):
    out, cache = trained
    evaluation = evaluate(out, [cache])
    value = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert [q["query"] for q in value["queries"]] == [
        "number of cats.",
        "number of dogs.",
        "beauty",
    ]
    assert value["queries"][0]["metrics"]["comparison"]["mae"] is None
    lines = evaluation.to_markdown().splitlines()
    assert len({line.count("|") for line in lines}) == 1


def test_a_pipe_in_a_prompt_does_not_break_the_table(trained):
    out, cache = trained
    cache.label_rows.append(("image-0", "odd", "a | b", 1.0, "test", None))
    cache.prompts["a | b"] = cache.prompts["beauty"]
    table = evaluate(out, [cache], queries=["a | b"]).to_markdown()
    assert "a \\| b" in table
    cache.label_rows.pop()


def test_relevance_to_a_count(trained):
    out, cache = trained
    for animal in ("cats", "dogs"):
        text = f"number of {animal} by the relevance count to 2."
        cache.prompts[text] = cache.prompts["beauty"]
    evaluation = evaluate(out, [cache], relevance=2)
    assert len(evaluation.queries) == 2
    for query in evaluation.queries:
        assert "relevance count to 2" in query.query
        original = query.query.replace(" by the relevance count to 2", "")
        labels = {n: v for n, _, q, v, *_ in cache.label_rows if q == original}
        expected = [abs(labels[f"image-{r}"] - 2) for r in query.rows]
        assert query.values.tolist() == expected
    with pytest.raises(LabelsError, match="counting tasks only"):
        evaluate(out, [cache], relevance=2, tasks=["score"])


def test_other_features_are_refused(trained, make_cache):
    out, _ = trained
    with pytest.raises(FingerprintMismatchError, match=r"backbone\.weights"):
        evaluate(out, [make_cache(weights="w1")])


def test_more_views_are_not_other_features(trained, make_cache):
    out, cache = trained
    single = make_cache(views=("original",), features=cache.features[:, :1])
    a, b = (evaluate(out, [c], by=["score"]) for c in (cache, single))
    assert a.overall("score").mean.mae == pytest.approx(b.overall("score").mean.mae)
    assert a.overall("score").mean.mae != pytest.approx(
        evaluate(out, [cache], view="hflip", by=["score"]).overall("score").mean.mae, rel=1e-9
    )
    with pytest.raises(ConfigError, match="rot90"):
        evaluate(out, [cache], view="rot90")


def test_missing_heads_and_rankings(tmp_path, train_fake, make_cache):
    train_fake(tmp_path, steps=1, ranking="none")
    assert evaluate(tmp_path, [make_cache()]).rankings == ("score",)
    with pytest.raises(ConfigError, match="without the head"):
        evaluate(tmp_path, [make_cache()], by=["comparison"])
    with pytest.raises(ConfigError, match="no ranking 'luck'"):
        evaluate(tmp_path, [make_cache()], by=["luck"])


def test_missing_run(tmp_path, make_cache):
    with pytest.raises(CheckpointNotFoundError, match="adapter train"):
        evaluate(tmp_path / "none", [make_cache()])


def test_several_seeds_and_folds(tmp_path, make_cache):
    cache = make_cache()
    cache.label_rows[:] = [
        (f"image-{i}", "score", "beauty", float(i), "test" if i % 2 == f else "train", f)
        for f in range(2)
        for i in range(40)
    ]
    arguments = (
        [cache],
        tmp_path,
        AdapterConfig.released(width=16, heads=2, blocks=1, relation_heads=2),
        LossConfig(),
        TrainConfig(steps=2),
    )
    seen = []
    result = train_sweep(*arguments, seeds=(0, 1, 2), folds=(0, 1), on_member=seen.append)
    assert [(m.fold, m.seed) for m in result.members] == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)
    ]  # fmt: skip
    assert list(result.members) == seen
    assert (tmp_path / "fold-1" / "seed-2" / "eval.json").exists()
    values = [m.evaluation.overall("score").mean.mae for m in result.members]
    mean, std, runs = result.spread.spread("mae")
    assert (mean, std, runs) == (
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
        6,
    )
    written = json.loads((tmp_path / "many.json").read_text())
    assert written["spread"]["score"]["mae"]["mean"] == pytest.approx(mean)
    assert f"{mean:.3f} ± {std:.3f}" in result.spread.to_markdown()
    # Each fold is evaluated on its own test images.
    rows = {m.fold: set(m.evaluation.queries[0].rows % 2) for m in result.members}
    assert rows == {0: {0}, 1: {1}}
    again = train_sweep(*arguments, seeds=(0, 1, 2), folds=(0, 1), resume=True)
    assert again.spread.spread("mae") == pytest.approx(result.spread.spread("mae"))
    with pytest.raises(ConfigError, match="each once"):
        train_sweep(*arguments, seeds=(1, 1))


def test_a_query_that_was_never_trained_stands_apart(trained):
    out, cache = trained
    rows = [
        (f"image-{i}", "score", "noise", float(i * 7 % 5), "test", None) for i in range(3, 60, 4)
    ]
    cache.label_rows.extend(rows)
    cache.prompts["noise"] = cache.prompts["beauty"]
    evaluation = evaluate(out, [cache])
    del cache.label_rows[-len(rows) :]
    assert [q.query for q in evaluation.apart] == ["noise"]
    names = ["number of cats.", "number of dogs.", "beauty"]
    values = [q.metrics["score"].mae for q in evaluation.queries if q.query in names]
    assert evaluation.overall("score").mean.mae == pytest.approx(np.mean(values))
    written = evaluation.to_dict()
    assert [q["trained"] for q in written["queries"]] == [
        q["query"] in names for q in written["queries"]
    ]
    assert written["mean_not_trained"]["score"]["queries"]["srcc"] == 1
    table = evaluation.to_markdown()
    assert "mean of 3 queries" in table
    assert table.index("mean of 3") < table.index("noise (not trained)")
    # Where none was trained there is nothing to stand apart from.
    cache.label_rows.extend(rows)
    alone = evaluate(out, [cache], queries=["noise"])
    del cache.label_rows[-len(rows) :]
    assert alone.apart == ()
    assert alone.overall("score").queries["srcc"] == 1


def test_training_images_and_another_fold_are_said(trained, tmp_path, make_cache, train_fake):
    out, cache = trained
    assert evaluate(out, [cache]).notes == ()
    (note,) = evaluate(out, [cache], split="test, train").notes
    assert "of 45 evaluated images, this run was trained on 30" in note
    other = make_cache(path="elsewhere")  # another cache, which the run never saw
    assert evaluate(out, [other], split="train").notes == ()
    folds = make_cache()
    folds.label_rows[:] = [
        (f"image-{i}", "score", "beauty", float(i), "test" if i % 2 == f else "train", f)
        for f in range(2)
        for i in range(40)
    ]
    train_fake(tmp_path, cache=folds, steps=1, fold=0)
    assert evaluate(tmp_path, [folds]).notes == ()
    notes = " ".join(evaluate(tmp_path, [folds], fold=1).notes)
    assert "evaluated on fold 1; the run was trained on fold 0" in notes
    assert "of 20 evaluated images, this run was trained on 20" in notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, "no split 'tset'; there are test, train, val"),
        ({"split": "test,tset"}, "no split 'tset'"),
        ({"fold": 7}, "no fold 7; the labels have no folds"),
        ({"queries": ["beauty", "buety"]}, "no query 'buety'; there are beauty, "),
        ({"tasks": ["scores*"]}, r"no task 'scores\*'; there are score, count"),
        ({"by": ["luck"]}, "no ranking 'luck'"),
        ({"view": "hflop"}, "no view 'hflop'; there are hflip, original"),
    ],
)
def test_unknown_names_are_refused_with_those_that_exist(trained, options, message):
    out, cache = trained
    with pytest.raises((LabelsError, ConfigError), match=message):
        evaluate(out, [cache], **options)


def test_spaces_around_names_do_not_count(trained):
    out, cache = trained
    found = evaluate(
        out, [cache], split=" test , val ", queries=[" beauty "], tasks=["score "], by=[" score"]
    )
    assert found.split == ("test", "val")
    assert [q.query for q in found.queries] == ["beauty"]


def test_the_precision_is_that_of_the_training(tmp_path, make_cache, train_fake):
    cache = make_cache()
    train_fake(tmp_path, cache=cache, steps=2, precision="bf16")
    default, asked = (evaluate(tmp_path, [cache], precision=p) for p in ("auto", "bf16"))
    assert (default.precision, default.notes) == ("bf16", ())
    one, two = (e.overall("score").mean for e in (default, asked))
    assert one == two
    other = evaluate(tmp_path, [cache], precision="fp32")
    assert "computed in fp32; the run was trained in bf16" in other.notes[0]
    assert other.overall("score").mean != one


def test_progress_ends_with_all_that_there_is(trained):
    out, cache = trained
    told = []
    evaluation = evaluate(out, [cache], on_progress=lambda *counts: told.append(counts))
    done, totals = [n for n, _ in told], {total for _, total in told}
    assert done == sorted(done)
    assert totals == {done[-1]} == {sum(len(q.rows) for q in evaluation.queries)}

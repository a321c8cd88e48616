from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

SMALL = Path(__file__).parents[1] / "data" / "version1"
COUNT = "sort images by the number of objects."


def test_methods_are_listed(adapter):
    code, out, _ = adapter("methods")
    assert code == 0
    for name in ("zero-shot", "l2rclip", "numclip", "tmcr-frozen", "countingclip", "adapter"):
        assert name in out


def test_fit_eval_and_rank(adapter, tmp_path):
    out = tmp_path / "fit"
    code, _, err = adapter(
        *("fit", "ridge", "--shards", SMALL / "cache", "--query", COUNT, "--out", out),
        *("--set", 'features="tokens"', "--device", "cpu"),
    )
    assert code == 0, err
    assert f"next: adapter eval {out} --shards" in err.replace("\n", " ")
    assert "steps/s" not in err  # what a fit begins with took no time
    code, table, err = adapter("eval", out, "--shards", SMALL / "cache")
    assert code == 0, err
    assert "| PLCC | SRCC |" in table
    found = json.loads((out / "eval.json").read_text())
    assert found["caches"][0]["n"] == 3
    code, ranked, err = adapter("rank", out, "--shards", SMALL / "cache")
    assert code == 0, err
    assert ranked.splitlines()[0] == "place,path,score"
    assert len(ranked.splitlines()) == 15


def test_classifiers_are_measured_by_expectation_and_by_class(adapter, tmp_path):
    out = tmp_path / "fit"
    code, _, err = adapter(
        *("fit", "zero-shot", "--shards", SMALL / "cache", "--query", COUNT, "--out", out),
        *("--device", "cpu", "--pretrained", "seed:0"),
    )
    assert code == 0, err
    code, table, err = adapter("eval", out, "--shards", SMALL / "cache")
    assert code == 0, err
    lines = table.splitlines()
    assert lines[3].startswith(lines[2].split(" | ")[0] + ", most likely class | 3 |")
    found = json.loads((out / "eval.json").read_text())["caches"][0]
    assert found["likeliest"]["accuracy"] is not None
    for option in (["--predictions", "p.csv"], ["--by", "comparison"], ["--query", COUNT]):
        code, _, err = adapter("eval", out, "--shards", SMALL / "cache", *option)
        assert code == 1
        assert f"{option[0]} goes with a run" in " ".join(err.split())
    code, _, err = adapter("rank", out, "--shards", SMALL / "cache", "--by", "comparison")
    assert code == 1
    assert "need a run of `adapter train`" in " ".join(err.split())


def test_weights_that_moved(adapter, tmp_path):
    for command in (
        ["fit", "zero-shot", "--query", COUNT, "--out", tmp_path / "fit"],
        ["rank", "--attribute", "quality"],
    ):
        more = ["--shards", SMALL / "cache", "--pretrained", "seed:1", "--device", "cpu"]
        code, _, err = adapter(*command, *more)
        assert code == 1
        assert "not the one that made the features" in " ".join(err.split())


def test_the_long_tail_of_a_fit_and_of_a_run(adapter, tmp_path):
    fit = tmp_path / "fit"
    code, _, err = adapter(
        *("fit", "tmcr-frozen", "--shards", SMALL / "cache", "--query", COUNT, "--out", fit),
        *("--quick", "--device", "cpu"),
    )
    assert code == 0, err
    code, table, err = adapter(
        *("eval", fit, "--shards", SMALL / "cache", "--threshold", "5", "--split", "train"),
    )
    assert code == 0, err
    assert "| | MSE | MSE, many | MSE, medium | MSE, few | binary accuracy | EMD1 |" in table
    found = json.loads((fit / "eval.json").read_text())["caches"][0]["long_tail"]
    assert 0 <= found["binary"] <= 1
    assert found["mse"] >= 0
    assert found["emd1"] is None  # these labels have no distributions
    out = tmp_path / "eval.json"
    code, table, err = adapter(
        *("eval", SMALL / "run", "--shards", SMALL / "cache", "--long-tail", "--out", out),
        *("--split", "train", "--device", "cpu"),
    )
    assert code == 0, err
    queries = json.loads(out.read_text())["queries"]
    assert all(query["long_tail"]["mse"] >= 0 for query in queries)
    assert f"| {queries[0]['query']} | {queries[0]['long_tail']['mse']:.3f} |" in table


def test_opposite_prompts_rank_a_folder(adapter, tmp_path):
    shutil.copytree(SMALL / "photos" / "img", tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").unlink()
    code, ranked, err = adapter(
        *("rank", "--images", tmp_path / "photos", "--attribute", "brightness"),
        *("--antonyms", "Good photo.", "Bad photo.", "--backbone", "demo-seeded-vit"),
        *("--pretrained", "seed:0", "--device", "cpu"),
    )
    assert code == 0, err
    assert len(ranked.splitlines()) == 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rank", "--shards", "x"], "give the folder of a run, or opposite prompts"),
        (["rank", "--shards", "x", "--attribute", "light"], "no attribute 'light'"),
        (["rank", "r", "--shards", "x", "--attribute", "quality"], "need no run"),
        (
            ["rank", "--shards", "x", "--attribute", "quality", "--resize", "native"],
            "are for --images; the features of a cache exist already",
        ),
        (["rank", "--shards", "x", "--attribute", "quality", "--by", "comparison"], "need a run"),
        (["fit", "svm", "--shards", SMALL / "cache", "--query", COUNT], "no method 'svm'"),
        (
            ["fit", "ridge", "--shards", SMALL / "cache", "--query", COUNT, "--set", "depth=3"],
            "no setting 'depth'",
        ),
        (["fit", "ridge", "--shards", SMALL / "cache", "--query", "by age"], "by age"),
    ],
)
def test_bad_requests_get_one_sentence(adapter, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = adapter(*arguments)
    assert code != 0
    assert "Traceback" not in err
    assert message in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []

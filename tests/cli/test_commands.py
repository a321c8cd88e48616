"""The two command lines, used as a user would: results, files, messages, exit codes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import pyarrow as pa
import pytest
from PIL import Image

from cli.training import comes_next
from featcache.datasets.stand_in import NOTICE
from featcache.reading.cache import Cache

# Of 256 tokens, 16 averages are kept: what is tested here does not need more.
BACKBONE = ["--backbone", "demo-seeded-vit", "--pretrained", "seed:0", "--token-pool", "4"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A small demo cache, made by the command: its folder, with images and cache in it."""
    folder = tmp_path_factory.mktemp("demo")
    command = [
        *(sys.executable, "-m", "cli.featcache", "extract", "--dataset", "demo", *BACKBONE),
        *("--root", folder / "images", "--out", folder / "cache", "--shard-size", 16),
        *("--option", "count=48"),
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "48 images" in done.stderr
    assert "free" in done.stderr
    return folder


@pytest.fixture(scope="module")
def trained(demo):
    """A run of a few steps on it."""
    command = [
        *(sys.executable, "-m", "cli.adapter", "train", "--shards", demo / "cache"),
        *("--out", demo / "run", "--steps", 4, "--width", 32, "--batch-size", 8),
        *("--set", "model.prompt_tokens=2", "--set", "train.log_every=1"),
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 steps" in done.stderr
    return demo / "run"


@pytest.mark.parametrize("module", ["cli.featcache", "cli.adapter"])
def test_help_does_not_import_torch(module):
    code = (
        f"import sys; sys.argv = ['x', '--help']; import {module} as m\n"
        "try: m.main()\nexcept SystemExit as e: assert not e.code\n"
        "heavy = {'torch', 'numpy', 'pyarrow', 'h5py'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    ("app", "command"),
    [
        *(("featcache", name) for name in ("extract", "info", "prompts", "labels", "datasets")),
        *(("featcache", name) for name in ("verify", "repair", "merge", "export")),
        *(("adapter", name) for name in ("train", "eval", "rank", "report", "convert")),
        ("adapter", "reproduce"),
    ],
)
def test_every_command_has_help_with_an_example(app, command, request):
    code, out, _ = request.getfixturevalue(app)(command, "--help")
    assert code == 0
    assert "Example" in out


def test_extract_resumes_and_says_so(featcache, demo):
    arguments = ["extract", "--dataset", "demo", "--root", demo / "images", *BACKBONE]
    before = (demo / "cache/shards/00000.h5").stat()
    code, _, err = featcache(*arguments, "--out", demo / "cache", "--shard-size", 16)
    assert code == 0
    assert "48 from an earlier run" in err
    assert (demo / "cache/shards/00000.h5").stat().st_mtime_ns == before.st_mtime_ns


def test_extract_refuses_a_changed_setting_by_name(featcache, demo):
    code, _, err = featcache(
        *("extract", "--dataset", "demo", "--root", demo / "images", "--out", demo / "cache"),
        *(*BACKBONE[:-1], 2, "--shard-size", 16),
    )
    assert code == 1
    assert "backbone.token_pool: 4 and 2" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "--dataset", "nope", "--root", "."], "no data set 'nope'"),
        (["extract", "--dataset", "folder", "--root", "missing", *BACKBONE], "no folder missing"),
        (["info", "missing"], "no cache here"),
        (["prompts", "missing", "--add", "x"], "no cache here"),
    ],
)
def test_bad_input_gets_one_message(featcache, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = featcache(*arguments)
    assert code == 1
    assert message in err
    assert "Traceback" not in out + err


def test_extract_refuses_what_does_not_fit(featcache, demo, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("featcache.extraction.checks.shutil.disk_usage", lambda _: usage)
    code, _, err = featcache(
        *("extract", "--dataset", "demo", "--root", demo / "images", "--out", tmp_path / "c"),
        *BACKBONE,
    )
    assert code == 1
    assert "needs" in err
    assert "1.0 kB free" in err
    assert not (tmp_path / "c").exists()


def test_info_tells_scripts_what_a_cache_holds(featcache, demo):
    code, out, _ = featcache("info", demo / "cache", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["images"] == 48
    assert facts["shards"] == 3
    assert facts["fingerprint_digest"] == Cache.open(demo / "cache").fingerprint.digest
    assert {query["task"] for query in facts["queries"]} >= {"brightness", "contrast"}


def test_info_tells_people_what_a_cache_holds(featcache, demo):
    code, out, _ = featcache("info", demo / "cache")
    assert code == 0
    for fact in ("48, 0 failed", "16 x 192 float16", "resize squash", "brightness"):
        assert fact in out
    assert "--backbone demo-seeded-vit --pretrained seed:0" in out  # as it was asked for


def test_info_lists_failed_images_with_their_reasons(featcache, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for n in range(3):
        Image.new("RGB", (20, 20), (n, n, n)).save(images / f"{n}.png")
    (images / "broken.jpg").write_bytes(b"no image")
    arguments = ["--dataset", "folder", "--root", images, "--out", tmp_path / "cache"]
    code, _, err = featcache("extract", *arguments, *BACKBONE)
    assert code == 0, err
    assert "1 image could not be read" in err
    code, out, err = featcache("info", tmp_path / "cache")
    assert code == 0
    assert "3, 1 failed" in out
    assert "--failures" in err
    code, out, _ = featcache("info", tmp_path / "cache", "--failures")
    assert "broken.jpg" in out
    assert "not an image" in out
    code, out, _ = featcache("labels", tmp_path / "cache")
    assert (code, out) == (0, f"{tmp_path / 'cache'} has no labels\n")


def test_labels_are_shown(featcache, demo):
    code, out, _ = featcache("labels", demo / "cache")
    assert code == 0
    assert "brightness" in out


def test_new_labels_need_the_folder(featcache, demo):
    code, _, err = featcache("labels", demo / "cache", "--dataset", "table")
    assert code == 2
    assert "--dataset needs --root" in err


def test_prompts_are_added_once(featcache, demo):
    text = "sort images by [odd] words."
    code, _, _ = featcache("prompts", demo / "cache", "--add", text)
    assert code == 0
    _, out, _ = featcache("prompts", demo / "cache")
    assert out.splitlines().count(text) == 1
    assert Cache.open(demo / "cache").prompt(text).tokens.shape == (32, 192)


def test_labels_are_replaced_without_extracting(featcache, demo, tmp_path):
    cache = Cache.open(demo / "cache")
    rows = cache.samples.select(["path", "sample_id"]).to_pylist()
    table = tmp_path / "scores.csv"
    lines = [f"{row['path']},sort images by taste.,{n},test" for n, row in enumerate(rows)]
    table.write_text("\n".join(["path,query,value,split", *lines]))
    before = cache.labels.num_rows
    arguments = ["--dataset", "table", "--root", demo / "images", "--option", f"table={table}"]
    code, _, err = featcache("labels", demo / "cache", *arguments, "--append")
    assert code == 0, err
    labels = Cache.open(demo / "cache").labels
    assert labels.num_rows == before + len(rows)
    assert "sort images by taste." in labels["query"].to_pylist()


def test_datasets_checks_a_folder(featcache, tmp_path):
    code, out, _ = featcache("datasets", "hci", "--check", tmp_path)
    assert code == 1
    assert "missing" in out
    code, out, _ = featcache("datasets")
    assert code == 0
    assert "koniq10k" in out


def test_datasets_tell_all_that_is_known(featcache):
    code, out, _ = featcache("datasets", "table")
    assert code == 0
    for fact in ("license", "expected layout", "options"):
        assert fact in out
    code, long, _ = featcache("datasets", "--long")
    assert code == 0
    assert long.count("expected layout") > 10


def test_train_logs_and_eval_writes_metrics(adapter, trained):
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4]
    code, out, err = adapter("eval", trained)
    assert code == 0, err
    assert "SRCC" in out
    result = json.loads((trained / "eval.json").read_text())
    assert result["mean"]["score"]["mean"]["srcc"] is not None
    code, _, err = adapter("eval", trained, "--opponents", 4, "--out", trained / "some.json")
    assert code == 0, err
    assert "each image meets 4 others, not all" in err
    code, _, err = adapter("eval", trained, "--opponents", "few")
    assert code == 2
    assert "--opponents few: expected a whole number, or all" in " ".join(err.split())


def test_eval_writes_predictions_and_says_what_is_odd(adapter, trained, tmp_path):
    table = tmp_path / "new" / "predictions.csv"
    code, _, err = adapter("eval", trained, "--split", " test, train", "--predictions", table)
    assert code == 0, err
    assert "this run was trained on" in err
    first, *rows = table.read_text("utf-8").splitlines()
    assert first.startswith('"path","query","value","score","comparison"')
    assert len(rows) >= 48
    for words, message in {
        ("--split", "tset"): "no split 'tset'; there are test, train",
        ("--fold", "3"): "no fold 3; the labels have no folds",
        ("--method", "board"): "no --method 'board'; there are borda, bradley-terry",
        ("--opponents", 2): "opponents must be at least 4, not 2",
        ("--opponents", 8, "--method", "borda"): "borda counts the wins over all others",
        ("--predictions", tmp_path / "predictions.txt"): "ends in .parquet or .csv",
    }.items():
        code, _, err = adapter("eval", trained, *words)
        assert code == 1
        assert message in " ".join(err.split())


def test_rank_names_the_closest_query_of_a_misspelt_one(adapter, featcache, trained, demo):
    query = json.loads((trained / "run.json").read_text("utf-8"))["scales"][0]["queries"][0]
    misspelt = query.replace("sort", "srot")
    code, _, err = featcache("prompts", demo / "cache", "--add", misspelt)
    assert code == 0, err
    code, _, err = adapter("rank", trained, "--shards", demo / "cache", "--query", misspelt)
    assert code == 0, err
    assert f"the closest that it knows is '{query}'" in " ".join(err.split())


def test_report_is_one_self_contained_page(adapter, trained, demo):
    code, _, err = adapter("report", trained, "--root", demo / "images", "--zero-shot")
    assert code == 0, err
    page = (trained / "report.html").read_text()
    found = json.loads((trained / "report.json").read_text("utf-8"))
    assert {"CLIP, zero-shot", "CLIP-IQA", "ridge on mean tokens"} < set(found["mean"])
    assert all(name in page for name in found["mean"])
    assert 0 < found["queries"][0]["ceiling"] <= 1
    assert "seconds on" in page  # what was learned, how quickly, on which machine
    assert "data:image/jpeg;base64," in page
    assert "<svg" in page
    assert "http://" not in page
    assert "https://" not in page


def test_rank_new_photos_with_the_same_backbone(adapter, trained, demo, tmp_path):
    query = "sort images by the image quality of brightness."
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in sorted((demo / "images").rglob("*.png"))[:5]:
        (photos / path.name).write_bytes(path.read_bytes())
    (photos / "broken.jpg").write_bytes(b"no image")
    gallery, table = tmp_path / "ranked.html", tmp_path / "ranked.csv"
    arguments = ["rank", trained, "--images", photos, "--query", query, "--out"]
    code, _, err = adapter(*arguments, gallery)
    assert code == 0, err
    assert "broken.jpg" in err
    assert gallery.read_text().count("<figure>") == 5
    code, _, err = adapter(*arguments, table, "--by", "comparison", "--opponents", 4)
    assert code == 0, err
    scores = [float(line.split(",")[2]) for line in table.read_text().splitlines()[1:]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "nonsense"], "expected SECTION.FIELD=VALUE"),
        (["--set", "optim.nope=1"], "no such setting"),
        (["--set", "model.nope=1"], "unknown nope"),
        (["--preset", "other"], "released, paper, best"),
        (["--query", "no such query"], "no such query"),
    ],
)
def test_train_names_the_fault(adapter, demo, tmp_path, arguments, message):
    out = tmp_path / "run"
    code, _, err = adapter("train", "--shards", demo / "cache", "--out", out, *arguments)
    assert code == 1
    assert message in err
    assert not (out / "adapter.safetensors").exists()


def test_train_several_seeds_and_resume(adapter, demo, tmp_path):
    """One run and evaluation each, with mean and spread; --resume computes nothing again."""
    arguments = ["train", "--shards", demo / "cache", "--out", tmp_path / "runs", "--steps", "2"]
    arguments += ["--width", "16", "--set", "model.prompt_tokens=2", "--seeds", "0,1"]
    code, out, err = adapter(*arguments)
    assert code == 0, err
    assert "seed 1" in err
    assert "±" in out
    code, again, err = adapter(*arguments, "--resume")
    assert code == 0, err
    assert again == out
    assert "None" not in err
    # The folder of all seeds is evaluated as one: each run, then mean and spread.
    code, out, err = adapter("eval", tmp_path / "runs")
    assert code == 0, err
    assert out == again
    written = json.loads((tmp_path / "runs/eval.json").read_text("utf-8"))
    assert [Path(run["run"]).name for run in written["runs"]] == ["seed-0", "seed-1"]
    assert written["spread"]["score"]["srcc"]["runs"] == 2
    code, _, err = adapter(*arguments[:-1], "0,one")
    assert code == 2
    assert "--seeds 0,one: expected whole numbers" in err


def test_train_reports_validations_and_the_best(adapter, demo, tmp_path):
    arguments = ["train", "--shards", demo / "cache", "--out", tmp_path / "run", "--steps", "4"]
    arguments += ["--width", "16", "--set", "model.prompt_tokens=2", "--validate-every", "2"]
    code, _, err = adapter(*arguments, "--set", "train.validation_split=test")
    assert code == 0, err
    assert "step 2: validation" in err
    assert "best validation" in err


def test_train_verifies_rows_when_asked(adapter, demo, tmp_path):
    cache = shutil.copytree(demo / "cache", tmp_path / "cache")
    shard = cache / "shards" / "00000.h5"
    with h5py.File(shard) as file:
        tokens = file["tokens"]
        place = tokens.id.get_offset() + 3 * tokens[0].nbytes  # of row 3
    with shard.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    arguments = ["train", "--shards", cache, "--steps", "1", "--width", "16", "--out"]
    code, _, err = adapter(*arguments, tmp_path / "trusting")
    assert code == 0, err
    code, _, err = adapter(*arguments, tmp_path / "careful", "--verify-rows")
    assert code == 1
    assert "00000.h5: row 3 is damaged" in err
    assert not (tmp_path / "careful" / "adapter.safetensors").exists()


def test_eval_refuses_other_features(adapter, featcache, trained, demo, tmp_path):
    code, _, err = featcache(
        *("extract", "--dataset", "demo", "--root", demo / "images", "--out", tmp_path / "other"),
        *("--backbone", "demo-seeded-vit", "--pretrained", "seed:1"),
    )
    assert code == 0, err
    code, _, err = adapter("eval", trained, "--shards", tmp_path / "other")
    assert code == 1
    assert "backbone.weights" in err


def test_prompts_of_a_file_must_be_text_in_utf8(featcache, demo, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_bytes("sort images by :smile: and ü.\n\n".encode("utf-8-sig"))
    code, _, err = featcache("prompts", demo / "cache", "--file", file)
    assert code == 0, err
    _, out, _ = featcache("prompts", demo / "cache")
    assert "sort images by :smile: and ü." in out.splitlines()
    file.write_bytes("sort images by size.".encode("utf-16"))
    code, _, err = featcache("prompts", demo / "cache", "--file", file)
    assert code == 1
    assert f"{file}: not text in UTF-8" in err


def test_a_stand_in_is_drawn_checked_extracted_and_called_so(featcache, adapter, tmp_path):
    folder, cache = tmp_path / "hci", tmp_path / "cache"
    code, _, err = featcache("datasets", "hci", "--miniature", folder, "--images", 25)
    assert code == 0, err
    said = " ".join(err.split())
    assert "Historical Color Images (HCI) (drawn stand-in): 25 images" in said
    assert "Palermo" in said, "whom to ask for the real ones"
    code, out, _ = featcache("datasets", "hci", "--check", folder)
    assert code == 0
    assert "25 images" in out
    assert NOTICE in out
    code, _, err = featcache("extract", "--dataset", "hci", "--root", folder, "--out", cache)
    assert code == 0, err
    assert "drawn-scenes-clip" in err
    assert "(drawn stand-in)" in " ".join(err.split())
    assert "(drawn stand-in)" in featcache("info", cache)[1]
    opened = Cache.open(cache)
    assert opened.name == "hci (drawn stand-in)"
    assert opened.labels.num_rows == 25 * 10
    page, drawn = tmp_path / "ranked.html", tmp_path / "run"
    pair = ("--antonyms", "A recent photo.", "An old photo.")
    code, _, err = adapter("rank", "--shards", cache, *pair, "--out", page)
    assert code == 0, err
    assert NOTICE in err
    assert NOTICE in page.read_text()
    steps = ("--steps", 2, "--width", 32, "--batch-size", 8, "--fold", 0)
    code, _, err = adapter("train", "--shards", cache, "--out", drawn, *steps)
    assert code == 0, err
    assert adapter("report", drawn, "--root", folder)[0] == 0
    assert NOTICE in (drawn / "report.html").read_text()
    assert "hci (drawn stand-in)" in (drawn / "report.html").read_text()
    photo = str(Cache.open(cache).samples["path"][0])
    query = ("--query", "sort images by the taken date of the photo.")
    where = ("--shards", cache, "--root", folder, "--out", page)
    code, _, err = adapter("rank", drawn, *query, *where, "--why", photo)
    assert code == 0, err
    assert NOTICE in page.read_text()
    code, _, err = featcache("datasets", "ava", "--miniature", folder)
    assert code == 1
    assert "holds a miniature of hci" in " ".join(err.split())
    assert featcache("datasets", "ava", "--images", 3)[0] == 2


def test_what_comes_after_a_training_works_with_its_labels(monkeypatch):
    small = Path(__file__).parents[1] / "data" / "version1"
    cache, run = small / "cache", small / "run"
    assert comes_next(run, [cache]) == ["adapter", "eval", run]
    labels = pa.table({"split": ["train", "val"]})  # as of a table without a column for splits
    monkeypatch.setattr("adapter.stored.open_caches", lambda _: [SimpleNamespace(labels=labels)])
    words = comes_next(run, [cache])
    assert words[:5] == ["adapter", "rank", run, "--shards", cache]
    assert words[5] == "--query"
    assert words[7:] == ["--out", run / "ranked.html"]

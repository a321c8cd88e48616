"""Several tables at once, on drawn stand-ins: cells, caches and models that they share."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from adapter.errors import ConfigError
from adapter.evaluation.long_tail import region_of
from adapter.methods import Adapter, ClipIqa, RidgeProbe
from adapter.recipes.tasks import AVA, COCO_REM, COCO_REM_CROWDS, HCI, KONIQ, LIVE_ITW
from adapter.reproduction.options import Options
from adapter.reproduction.recipe import Recipe, Row
from adapter.reproduction.reproduce import reproduce
from featcache.backbone import BackboneSpec
from featcache.datasets.miniatures import write

if TYPE_CHECKING:
    from adapter.methods.method import FoldData, Predictor

DEMO = BackboneSpec(name="demo-seeded-vit", pretrained="seed:0")
SIZES = {"koniq10k": 24, "ava": 40, "coco-rem": 48, "live-itw": 12, "hci": 50}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name, images in SIZES.items():
        write(name, root / name, images)
    return root


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return Options(device="cpu", cache=tmp_path_factory.mktemp("caches"))


def recipe(name: str, tasks: Any, *rows: Row, **changes: Any) -> Recipe:
    settings: dict[str, Any] = {
        "name": name,
        "title": name,
        "source": "nowhere",
        "tasks": tasks,
        "rows": rows,
        "reference": rows[0].key,
        "views": ("original",),
    }
    return Recipe(**{**settings, **changes})


def ridge(key: str = "ridge", **changes: Any) -> Row:
    return Row(key=key, title=key, method=RidgeProbe(), **changes)


def entry(results: Any, task: str, row: str) -> Any:
    doc = results.to_dict()
    return next(r for r in doc["rows"] if r["key"] == row)["tasks"][task]


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A method that cannot learn."""

    needs_text: bool = False

    def fit(self, data: FoldData) -> Predictor:
        raise ValueError(f"nothing to learn from {len(data.train.rows)} images")

    def quick(self) -> Failing:
        return self


def test_a_cell_that_two_tables_show_is_computed_once(data, options, tmp_path):
    events = []
    first = recipe("first", (KONIQ,), ridge())
    fewer = replace(KONIQ, metrics=("srcc",))
    second = recipe("second", (fewer, AVA), ridge("another-name"))
    result = reproduce([first, second], data, tmp_path, DEMO, options, events.append)
    assert (result.computed, result.reused, result.failed) == (2, 0, ())
    assert events[-1].done == events[-1].total == 2
    a, b = result.tables
    measured = entry(a, "koniq", "ridge")["metrics"]
    assert measured["srcc"]["mean"] == entry(b, "koniq", "another-name")["metrics"]["srcc"]["mean"]
    assert list(entry(b, "koniq", "another-name")["metrics"]) == ["srcc"]
    assert result.files[-1].name == "index.html"
    stems = {path.stem for path in result.files}
    assert stems == {"first-stand-in", "second-stand-in", "index"}
    names = {path.name for path in options.cache.iterdir()}
    assert {"koniq10k-demo-seeded-vit-seed-0", "ava-demo-seeded-vit-seed-0"} <= names
    again = reproduce([second], data, tmp_path, DEMO, options)
    assert (again.computed, again.reused) == (0, 2)


def test_the_disk_is_announced_before_anything_is_extracted(data, tmp_path):
    events = []
    both = recipe(
        "both",
        (LIVE_ITW,),
        Row(key="patch", title="patch", method=ClipIqa()),
        Row(key="pooled", title="pooled", method=ClipIqa(), backbone={"tokens": "none"}),
    )
    result = reproduce([both], data, tmp_path, DEMO, Options(device="cpu"), events.append)
    kinds = [e.kind for e in events]
    notes = [e.text for e in events if e.kind == "note"]
    assert "to extract into" in notes[-1]
    assert "live-itw-demo-seeded-vit-seed-0-pooled: about 0.0 GB" in notes[-1]
    assert kinds.index("extract") > kinds.index("note") + 1
    folders = {path.name for path in (tmp_path / "cache").iterdir()}
    assert folders == {"live-itw-demo-seeded-vit-seed-0", "live-itw-demo-seeded-vit-seed-0-pooled"}
    assert result.failed == ()
    values = [entry(result.tables[0], "live-itw", key) for key in ("patch", "pooled")]
    assert values[0]["metrics"]["srcc"]["mean"] == pytest.approx(
        values[1]["metrics"]["srcc"]["mean"], abs=1e-3
    )
    features = result.tables[0].to_dict()["tasks"][0]["features"]
    assert len({known["fingerprint"] for known in features}) == 2
    # All images are tested, and none is learned from.
    assert len(result.tables[0].cell("live-itw", "patch").queries[0].rows) == SIZES["live-itw"]


def test_one_failing_cell_does_not_stop_the_others(data, options, tmp_path):
    table = recipe("half", (KONIQ,), ridge(), Row(key="bad", title="Bad", method=Failing()))
    result = reproduce([table], data, tmp_path, DEMO, options)
    assert result.computed == 1
    assert len(result.failed) == 1
    assert "Bad, KonIQ-10k: ValueError: nothing to learn" in result.failed[0]
    assert entry(result.tables[0], "koniq", "bad")["status"] == "failed"
    text = result.files[0].read_text()
    assert "| failed |" in text
    assert "Failed: Bad, KonIQ-10k (drawn stand-in): ValueError: nothing to learn from" in text
    with result.files[3].open() as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    assert rows["bad"]["reason"].startswith("ValueError")


def test_one_model_for_mixed_tasks_is_tested_on_all(data, options, tmp_path):
    quick = Adapter().quick()
    method = replace(quick, train=replace(quick.train, steps=4))
    shares = {"koniq": 0.75, "hci": 0.25}
    hci = replace(HCI, folds=(0,), metrics=("mae",), quick_options={})
    table = recipe(
        "mixed",
        (KONIQ, hci),
        Row(key="one", title="one", method=method, learns={"koniq": 1.0}),
        Row(key="mixed", title="mixed", method=method, learns=shares),
    )
    told = replace(options, keep_runs=True)
    result = reproduce([table], data, tmp_path, DEMO, told)
    assert (result.computed, result.failed) == (4, ())
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("run.json")]
    weights = [record["settings"]["train"]["sampling"]["weights"] for record in records]
    assert sorted(weights) == [[], [0.75, 0.25]]  # two models for four cells
    mixed = next(r for r in records if r["settings"]["train"]["sampling"]["weights"])
    assert [shard["dataset"] for shard in mixed["shards"]] == ["koniq10k", "hci"]
    # The model of one task is that of a table which has no other.
    alone = recipe("alone", (KONIQ,), Row(key="x", title="x", method=method))
    again = reproduce([alone], data, tmp_path, DEMO, told)
    assert (again.computed, again.reused) == (0, 1)


def test_counts_are_measured_with_and_without_zeros_and_crowds(data, options, tmp_path):
    table = recipe(
        "counts",
        (COCO_REM, COCO_REM_CROWDS),
        ridge(learns={"coco-rem": 1.0}),
    )
    result = reproduce([table], data, tmp_path, DEMO, options)
    assert (result.computed, result.failed) == (2, ())
    cell, other = (
        result.tables[0].cell(key, "ridge") for key in ("coco-rem", "coco-rem-no-crowds")
    )
    assert len(cell.queries) > 5
    for query in cell.queries:
        assert (query.values == 0).any()
        assert len(query.rows) == len(set(query.rows)) == 12  # every test image, once
    numbers = entry(result.tables[0], "coco-rem", "ridge")["metrics"]
    assert numbers["plcc"]["mean"] != numbers["plcc_zeros"]["mean"]
    # The same predictions under labels with fewer objects.
    counts = {q.query: q.values.sum() for q in cell.queries}
    ignored = {q.query: q.values.sum() for q in other.queries}
    assert sum(ignored.values()) < sum(counts.values())
    text = result.files[0].read_text()
    assert f"means over {len(cell.queries)} queries" in text
    assert "a crowd counts as one object" in text


def test_regions_are_cut_by_the_training_labels(data, options, tmp_path):
    regions = replace(AVA, metrics=("mse_many", "mse_medium", "mse_few", "mse", "good"))
    result = reproduce([recipe("regions", (regions,), ridge())], data, tmp_path, DEMO, options)
    numbers = {k: v["mean"] for k, v in entry(result.tables[0], "ava", "ridge")["metrics"].items()}
    (query,) = result.tables[0].cell("ava", "ridge").queries
    train = result.tasks["ava"].parts(None)[0].train
    shares = [(region_of(train.values, query.cuts) == name).mean() for name in ("many", "few")]
    assert shares == pytest.approx([1 / 3, 1 / 3], abs=0.08)
    where = region_of(query.values, query.cuts)
    gaps = (query.values - query.predictions) ** 2
    for region in set(where):
        assert numbers[f"mse_{region}"] == pytest.approx(gaps[where == region].mean())
    assert numbers["mse"] == pytest.approx(gaps.mean())
    assert 0 <= numbers["good"] <= 100
    # How raters spread comes with the labels, in their order.
    levels = np.arange(1, 11)
    assert train.distributions.shape == (len(train.rows), 10)
    assert train.distributions @ levels == pytest.approx(train.values)


def test_two_tables_of_one_name_are_refused(data, options, tmp_path):
    table = recipe("same", (KONIQ,), ridge())
    with pytest.raises(ConfigError, match="one name"):
        reproduce([table, table], data, tmp_path, DEMO, options)

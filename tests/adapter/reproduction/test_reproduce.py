"""The recipe of table 1 on miniatures that are taken for the data sets."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from adapter.errors import ConfigError
from adapter.methods.adapter import Adapter
from adapter.methods.linear import LinearProbe
from adapter.methods.ridge import RidgeProbe
from adapter.recipes import load_recipe
from adapter.reproduction.options import Options
from adapter.reproduction.reproduce import reproduce
from featcache.backbone import BackboneSpec
from featcache.datasets import miniatures
from featcache.datasets.stand_in import MARKER

if TYPE_CHECKING:
    from pathlib import Path

    from adapter.reproduction.recipe import Row

DEMO = BackboneSpec(name="drawn-scenes-clip")
NOWHERE = BackboneSpec(name="ViT-B-32", pretrained="/no/such/file.safetensors")
CPU = Options(device="cpu")


def take_for_real(name: str, root: Path, images: int) -> None:
    """Draw a stand-in without the marker that says so: tables of it are called what they are."""
    miniatures.write(name, root, images=images)
    (root / MARKER).unlink()


def write_adience(root: Path, *, shuffle: bool = False) -> None:
    """A stand-in of 24 faces in each fold; ``shuffle`` breaks the signal."""
    take_for_real("adience", root, images=120)
    generator = np.random.default_rng(0)
    for file in root.glob("fold_*_data.txt") if shuffle else ():
        head, *lines = file.read_text().splitlines()
        cells = [line.split("\t") for line in lines]
        at = head.split("\t").index("age")
        ages = generator.permutation([row[at] for row in cells])
        shuffled = [
            "\t".join([*row[:at], age, *row[at + 1 :]])
            for row, age in zip(cells, ages, strict=True)
        ]
        file.write_text("\n".join([head, *shuffled]) + "\n")


def write_hci(root: Path) -> None:
    """A stand-in of 20 photos of each decade."""
    take_for_real("hci", root, images=100)


def small_recipe(*keys: str, folds: int = 2) -> Any:
    """Table 1, quick, with two folds, and only the rows named."""
    quick = load_recipe("table1").to_quick()
    return dataclasses.replace(
        quick,
        tasks=tuple(dataclasses.replace(t, folds=t.folds[:folds]) for t in quick.tasks),
        rows=tuple(hurried(r) for r in quick.rows if not keys or r.method is None or r.key in keys),
        reference=keys[-1] if keys else quick.reference,
    )


def first_task(recipe: Any) -> Any:
    """Leave out all tasks but the first, and the rows that say nothing about it."""
    task = recipe.tasks[0]
    rows = [
        dataclasses.replace(r, printed={k: v for k, v in r.printed.items() if k == task.key})
        for r in recipe.rows
        if r.method is not None or task.key in r.printed
    ]
    return dataclasses.replace(recipe, tasks=(task,), rows=tuple(rows))


def hurried(row: Row) -> Row:
    """Let the adapter take even fewer steps."""
    if not isinstance(row.method, Adapter):
        return row
    train = dataclasses.replace(row.method.train, steps=40)
    return dataclasses.replace(row, method=dataclasses.replace(row.method, train=train))


def read(out: Path) -> Any:
    return json.loads((out / "results" / "table1-quick.json").read_text())


def mean(doc: Any, row: str, task: str, metric: str = "accuracy") -> float:
    found = next(r for r in doc["rows"] if r["key"] == row)
    return float(found["tasks"][task]["metrics"][metric]["mean"])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_adience(root / "adience")
    write_hci(root / "hci")
    return root


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """Shared by the tests that do not look at extraction."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def whole(data, caches, tmp_path_factory):
    """Every row of the table, one fold each."""
    out = tmp_path_factory.mktemp("whole")
    events = []
    result = reproduce(
        [small_recipe(folds=1)],
        data,
        out,
        DEMO,
        dataclasses.replace(CPU, cache=caches),
        events.append,
    )
    return out, result, events


def test_every_method_runs_and_the_planted_signal_is_learned(whole):
    out, result, _ = whole
    assert result.missing == ()
    doc = read(out)
    run = [row for row in doc["rows"] if row["kind"] == "run"]
    assert len(run) == 16
    for row in run:
        for task in row["tasks"].values():
            assert task["folds_run"] == 1
            assert task["metrics"]["mae"]["mean"] >= 0
    # Who says the middle class every time is off by 2 of eight groups, by 1.2 of five decades.
    for key in ("ridge-pooled", "ridge-tokens", "ridge", "linear-pooled", "adapter"):
        assert mean(doc, key, "adience", "mae") < 1.5, key
        assert mean(doc, key, "hci", "mae") < 0.9, key


def test_results_say_what_they_are(whole):
    out, result, _ = whole
    doc = read(out)
    assert doc["quick"] is True
    assert doc["seeds"] == [0]
    assert "share one frozen backbone" in " ".join(doc["notes"])
    for task in doc["tasks"]:
        (features,) = task["features"]
        assert len(features["fingerprint"]) == 32
        assert features["extraction_seconds"] > 0
        assert features["name"].endswith("-drawn-scenes-clip")
        assert task["status"] == "there"
    assert {"torch", "python", "featcache"} <= doc["versions"].keys()
    endings = ("md", "json", "html", "csv", "tex")
    assert [path.name for path in result.files] == [f"table1-quick.{e}" for e in endings]
    for path in (result.files[0], result.files[2]):
        assert "not the reproduction" in path.read_text().split("</title>")[0]


def test_progress_reaches_its_total(whole):
    _, _, events = whole
    finished = [e for e in events if e.kind == "finished"]
    assert finished[-1].done == finished[-1].total == 2 * 16


def test_a_second_run_computes_and_extracts_nothing(whole, data, caches):
    out, first, _ = whole
    shards = {path: path.stat().st_mtime_ns for path in caches.rglob("*.h5")}
    again = reproduce(
        [small_recipe(folds=1)], data, out, DEMO, dataclasses.replace(CPU, cache=caches)
    )
    assert (again.computed, again.reused) == (0, first.computed)
    assert {path: path.stat().st_mtime_ns for path in caches.rglob("*.h5")} == shards
    assert not list((out / "cells").rglob("run"))  # trained adapters are dropped by default


def test_shuffled_labels_are_not_better_than_chance(tmp_path):
    write_adience(tmp_path / "data" / "adience", shuffle=True)
    write_hci(tmp_path / "data" / "hci")
    recipe = small_recipe("ridge", "linear", "adapter", folds=3)
    recipe = first_task(recipe)
    reproduce([recipe], tmp_path / "data", tmp_path / "out", DEMO, CPU)
    doc = read(tmp_path / "out")
    for key in ("ridge", "linear", "adapter"):
        # 72 test images in all: chance is 12.5 %, two standard errors above it are 20.3 %.
        assert mean(doc, key, "adience") < 20.3, key


def test_a_missing_data_set_has_its_place(data, caches, tmp_path):
    half = tmp_path / "data"
    half.mkdir()
    (half / "adience").symlink_to(data / "adience")
    options = dataclasses.replace(CPU, cache=caches)
    result = reproduce([small_recipe("ridge", folds=1)], half, tmp_path / "out", DEMO, options)
    assert len(result.missing) == 1
    assert f"put it into {half / 'hci'}" in result.missing[0]
    assert "historicalColor" in result.missing[0]
    doc = read(tmp_path / "out")
    assert [task["status"] for task in doc["tasks"]] == ["there", "missing"]
    assert "the data are not there" in result.files[0].read_text()
    assert "data not there" in result.files[2].read_text()


def test_without_any_data_no_backbone_is_loaded(tmp_path):
    result = reproduce([small_recipe("ridge")], tmp_path / "no", tmp_path / "out", NOWHERE, CPU)
    assert len(result.missing) == 2
    assert result.computed == 0
    assert all(path.exists() for path in result.files)


class Stopping(RidgeProbe):
    """A ridge probe during whose second fold somebody presses Ctrl-C."""

    def fit(self, data):
        if data.fold == 1:
            raise KeyboardInterrupt
        return super().fit(data)


def test_a_stopped_run_keeps_its_cells_and_goes_on(data, caches, tmp_path):
    recipe = first_task(small_recipe("ridge"))
    options = dataclasses.replace(CPU, cache=caches)
    rows = tuple(
        dataclasses.replace(r, method=Stopping()) if r.key == "ridge" else r for r in recipe.rows
    )
    stopping = dataclasses.replace(recipe, rows=rows)
    with pytest.raises(KeyboardInterrupt):
        reproduce([stopping], data, tmp_path, DEMO, options)
    doc = read(tmp_path)
    ridge = next(r for r in doc["rows"] if r["key"] == "ridge")
    assert ridge["tasks"]["adience"]["folds_run"] == 1
    Stopping.fit = RidgeProbe.fit
    result = reproduce([stopping], data, tmp_path, DEMO, options)
    assert (result.computed, result.reused) == (1, 1)


def test_a_changed_setting_is_another_cell(data, caches, tmp_path):
    recipe = small_recipe("linear", folds=1)
    options = dataclasses.replace(CPU, cache=caches)
    reproduce([recipe], data, tmp_path, DEMO, options)
    rows = tuple(
        dataclasses.replace(r, method=LinearProbe(iterations=7)) if r.key == "linear" else r
        for r in recipe.rows
    )
    changed = dataclasses.replace(recipe, rows=rows)
    result = reproduce([changed], data, tmp_path, DEMO, options)
    assert (result.computed, result.reused) == (2, 0)


def test_only_some_rows(data, caches, tmp_path):
    recipe = small_recipe("ridge", "linear", folds=1)
    options = dataclasses.replace(CPU, cache=caches)
    reproduce([recipe], data, tmp_path, DEMO, dataclasses.replace(options, only=("ridge",)))
    doc = read(tmp_path)
    assert {r["key"]: r["kind"] for r in doc["rows"]}["linear"] == "left out"
    reproduce([recipe], data, tmp_path, DEMO, dataclasses.replace(options, only=("linear",)))
    doc = read(tmp_path)  # the ridge cells of the first run are still shown
    assert {r["key"]: r["kind"] for r in doc["rows"] if r["kind"] != "printed"} == {
        "ridge": "run",
        "linear": "run",
    }
    with pytest.raises(ConfigError, match="instructblip"):
        reproduce(
            [recipe], data, tmp_path, DEMO, dataclasses.replace(options, only=("instructblip",))
        )


def test_an_unaligned_text_tower_leaves_methods_out(data, caches, tmp_path):
    recipe = small_recipe("zero-shot", "coop", "ridge", folds=1)
    options = dataclasses.replace(CPU, cache=caches, unaligned_text=True)
    result = reproduce([recipe], data, tmp_path, DEMO, options)
    kinds = {r["key"]: (r["kind"], r["reason"]) for r in read(tmp_path)["rows"]}
    assert kinds["ridge"] == ("run", "")
    assert kinds["coop"][0] == "left out"
    assert "aligned" in kinds["coop"][1]
    assert result.computed == 2


def test_labels_of_an_older_cache_are_brought_up_to_date(data, caches, tmp_path):
    recipe = small_recipe("ridge", folds=1)
    options = dataclasses.replace(CPU, cache=caches)
    first = reproduce([recipe], data, tmp_path, DEMO, options)
    hci = dataclasses.replace(recipe.tasks[1], options={"train": 10, "val": 0, "test": 10})
    changed = dataclasses.replace(recipe, tasks=(recipe.tasks[0], hci))
    second = reproduce([changed], data, tmp_path, DEMO, options)
    assert (first.computed, second.computed, second.reused) == (2, 1, 1)
    cells = list((tmp_path / "cells" / "hci" / "ridge").glob("*.json"))
    counts = {len(json.loads(path.read_text())["values"]) for path in cells}
    assert counts == {20, 50}


def test_a_damaged_cell_is_named(data, caches, tmp_path):
    recipe = small_recipe("ridge", folds=1)
    options = dataclasses.replace(CPU, cache=caches)
    reproduce([recipe], data, tmp_path, DEMO, options)
    cell = next((tmp_path / "cells" / "adience" / "ridge").glob("*.json"))
    cell.write_text("{")
    result = reproduce([recipe], data, tmp_path, DEMO, options)
    assert len(result.failed) == 1
    assert f"{cell}: damaged" in result.failed[0]
    assert "remove it" in result.failed[0]
    assert (result.computed, result.reused) == (0, 1)
    entry = next(r for r in read(tmp_path)["rows"] if r["key"] == "ridge")["tasks"]["adience"]
    assert entry["status"] == "failed"
    assert "damaged" in entry["reason"]


def test_comparisons_are_paired_over_the_test_images(data, caches, tmp_path):
    recipe = small_recipe("zero-shot", "ridge")
    options = dataclasses.replace(CPU, cache=caches)
    reproduce([recipe], data, tmp_path, DEMO, options)
    doc = read(tmp_path)
    found = {(c["task"], c["metric"]): c for c in doc["comparisons"]}
    assert found.keys() == {(t, m) for t in ("adience", "hci") for m in ("accuracy", "mae")}
    accuracy = found["adience", "accuracy"]
    assert accuracy["images"] == 48
    assert accuracy["folds"] == 2
    assert accuracy["difference"] == pytest.approx(
        mean(doc, "zero-shot", "adience") - mean(doc, "ridge", "adience")
    )
    assert accuracy["within_noise"] is False


@pytest.mark.slow
def test_the_whole_quick_recipe(data, caches, tmp_path):
    recipe = load_recipe("table1").to_quick()
    options = dataclasses.replace(CPU, cache=caches)
    result = reproduce([recipe], data, tmp_path, DEMO, options)
    assert result.computed == 16 * (5 + 10)
    doc = read(tmp_path)
    assert mean(doc, "adapter", "adience", "mae") < 1.5
    assert mean(doc, "adapter", "hci", "mae") < 0.6


def table(out: Path) -> Any:
    """What a table says, but for when it was made and how long it took."""

    def lasting(found: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in found.items() if "seconds" not in k and k != "created"}

    return json.loads(json.dumps(read(out)), object_hook=lasting)


def test_cells_that_others_have_computed_are_read(data, caches, tmp_path):
    recipe = small_recipe("ridge", folds=1)
    options = dataclasses.replace(CPU, cache=caches)
    for _ in range(2):  # the second reads its cells, which are rounded
        reproduce([recipe], data, tmp_path / "one", DEMO, options)
    told: list[int] = []

    def spread(function: Any, arguments: Any) -> None:
        told.append(len(arguments))
        for one in arguments:
            function(*one)

    options = dataclasses.replace(options, spread=spread)
    result = reproduce([recipe], data, tmp_path / "many", DEMO, options)
    assert told == [result.reused]
    assert (result.computed, result.failed) == (0, ())
    assert table(tmp_path / "many") == table(tmp_path / "one")


@pytest.mark.slow
def test_cells_as_tasks_of_ray_whose_workers_are_killed(data, caches, tmp_path):
    import gc
    import os
    import random
    import signal
    import threading
    import warnings

    from featcache.distributed.ray_tasks import TaskConfig, run_tasks

    recipe = small_recipe("ridge", "linear", "adapter")
    options = dataclasses.replace(CPU, cache=caches)
    for _ in range(2):
        reproduce([recipe], data, tmp_path / "one", DEMO, options)
    ended, killed = threading.Event(), []

    def kill() -> None:
        chance = random.Random(0)
        while not ended.wait(3.0):
            if busy := workers():
                killed.append(chance.choice(busy))
                os.kill(killed[-1], signal.SIGKILL)
            if len(killed) == 3:
                return

    def spread(function: Any, arguments: Any) -> None:
        thread = threading.Thread(target=kill)
        thread.start()
        run_tasks(function, arguments, TaskConfig(cpus_per_task=1))
        ended.set()
        thread.join()

    result = reproduce(
        [recipe], data, tmp_path / "ray", DEMO, dataclasses.replace(options, spread=spread)
    )
    assert killed
    assert (result.computed, result.failed) == (0, ())
    assert table(tmp_path / "ray") == table(tmp_path / "one")
    with warnings.catch_warnings():  # Ray does not wait for its processes
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def workers() -> list[int]:
    """Processes of Ray that compute a model now."""
    from pathlib import Path

    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ray::_compute_fit"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found

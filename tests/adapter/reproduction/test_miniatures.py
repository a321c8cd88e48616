"""Recipes on drawn stand-ins: few of them small here, every one in the slow tests."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import pytest

from adapter.recipes import RECIPES, load_recipe
from adapter.reproduction.miniatures import (
    BACKBONE,
    NOTE,
    data_are_there,
    draw_data,
    how_to_get,
)
from adapter.reproduction.options import Options
from adapter.reproduction.reproduce import reproduce
from featcache.backbone import BackboneSpec
from featcache.datasets.miniatures import names, write
from featcache.datasets.stand_in import NOTICE
from featcache.errors import DatasetError

SPEC = BackboneSpec(name=BACKBONE)
OPTIONS = Options(device="cpu", note=NOTE, same_model=True)


def few_folds(recipe):
    """The recipe with one fold of each task."""
    tasks = tuple(dataclasses.replace(task, folds=task.folds[:1]) for task in recipe.tasks)
    return dataclasses.replace(recipe, tasks=tasks)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Data sets as small as they can be, and caches to share."""
    root = tmp_path_factory.mktemp("small")
    for name, images in {"adience": 40, "hci": 50, "tid2013": 50, "koniq10k": 20}.items():
        write(name, root / "data" / name, images)
    return root


@pytest.fixture(scope="module")
def table(small):
    """Table 1 with two of its rows, one fold each: its documents' folder, and the result."""
    (recipe,) = draw_data([load_recipe("table1")], small / "data", lambda task: None)
    options = dataclasses.replace(OPTIONS, cache=small / "cache", only=("zero-shot", "ridge"))
    out = small / "out"
    result = reproduce([few_folds(recipe)], small / "data", out, SPEC, options)
    assert (result.missing, result.failed, result.computed) == ((), (), 4)
    return out / "results", result


def test_methods_learn_what_is_drawn(table):
    folder, _ = table
    doc = json.loads((folder / "table1-stand-in.json").read_text())
    ridge = next(row for row in doc["rows"] if row["key"] == "ridge")
    assert ridge["tasks"]["hci"]["metrics"]["accuracy"]["mean"] > 45  # chance is 20
    assert ridge["tasks"]["adience"]["metrics"]["mae"]["mean"] < 2.0  # chance is 2.6


def test_nobody_can_take_it_for_the_papers_table(table):
    folder, result = table
    names = [f"table1-stand-in.{ending}" for ending in ("md", "json", "html", "csv", "tex")]
    assert [path.name for path in result.files] == names
    said = "drawn stand-ins, not the data sets"
    for name in ("table1-stand-in.md", "table1-stand-in.html"):
        text = (folder / name).read_text()
        title = text.splitlines()[0] if name.endswith(".md") else text.split("</title>")[0]
        assert said in title
        assert NOTICE in text
        assert "Adience (drawn stand-in)" in text
        assert "paper, on the real data" in text or name.endswith(".html")
        assert "ten seeded splits of 210" not in text
    assert said in (folder / "table1-stand-in.tex").read_text()
    text = (folder / "table1-stand-in.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["stand_in"] for row in rows} == {"true"}
    assert {row["difference_to_paper"] for row in rows} == {""}
    doc = json.loads((folder / "table1-stand-in.json").read_text())
    assert doc["stand_in"] is True
    assert all(task["stand_in"] for task in doc["tasks"])
    assert NOTE in doc["notes"]


def test_a_miniature_of_another_size_is_kept(small, tmp_path):
    told = []
    draw_data([load_recipe("table1")], small / "data", told.append)
    assert told == []
    draw_data([load_recipe("clip-iqa-table5")], small / "data", told.append)
    assert told == []
    (tmp_path / "tid2013").mkdir()
    (tmp_path / "tid2013" / "mine.txt").touch()
    with pytest.raises(DatasetError, match="something else"):
        draw_data([load_recipe("clip-iqa-table5")], tmp_path, told.append)


def test_what_is_missing_is_told_once(small, tmp_path):
    recipes = [load_recipe("table1"), load_recipe("table12")]
    assert data_are_there(recipes, small / "data")
    assert not data_are_there(recipes, tmp_path)
    lines = how_to_get(recipes, tmp_path)
    assert sum("ask for the data" in line for line in lines) == 4
    assert any("Tal Hassner" in line for line in lines)
    assert f"  put it into {tmp_path / 'hci'} so that it looks like this:" in lines
    assert any("historicalColor" in line for line in how_to_get(recipes, small / "data")), (
        "a stand-in is not the data set"
    )


def test_a_table_without_learning_on_distorted_pictures(small):
    (recipe,) = draw_data([load_recipe("clip-iqa-table5")], small / "data", lambda task: None)
    options = dataclasses.replace(OPTIONS, cache=small / "cache")
    result = reproduce([recipe], small / "data", small / "tid", SPEC, options)
    assert (result.missing, result.failed) == ((), ())
    assert result.computed > 0


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """One folder for all recipes, so that they share data, caches and cells."""
    return tmp_path_factory.mktemp("everything")


def can_be_drawn(name):
    """Whether there is a miniature of every data set of a recipe: not of a user's own table."""
    return {task.dataset for task in load_recipe(name).tasks} <= set(names())


@pytest.mark.slow
@pytest.mark.parametrize("name", list(filter(can_be_drawn, RECIPES)))
def test_every_recipe_runs_to_its_end(everything, name):
    data = everything / "data"
    (recipe,) = draw_data([load_recipe(name)], data, lambda task: None)
    recipe = recipe if name == "table1" else few_folds(recipe)
    result = reproduce([recipe], data, everything / "out", SPEC, OPTIONS)
    assert (result.missing, result.failed) == ((), ())
    doc = result.tables[0].to_dict()
    for row in doc["rows"]:
        if row["kind"] == "run":
            states = {entry["status"] for entry in row["tasks"].values()}
            assert "failed" not in states
            assert any(entry["folds_run"] for entry in row["tasks"].values()), row["key"]

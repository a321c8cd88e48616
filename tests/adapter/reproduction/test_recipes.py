from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapter.errors import ConfigError
from adapter.recipes import RECIPES, STUDIES, load_module, load_recipe
from adapter.reproduction.cells import describe
from adapter.reproduction.options import Options
from adapter.reproduction.recipe import Printed, Resplit
from adapter.reproduction.reproduce import reproduce
from featcache.backbone import BackboneSpec
from featcache.datasets import info
from featcache.storage.fingerprint import digest


@pytest.mark.parametrize("name", RECIPES | STUDIES)
def test_recipes_fit_their_data_sets(name):
    recipe, docstring = load_module(name)
    assert recipe.name == name
    assert "Known results" in docstring
    for task in recipe.tasks:
        declared = info(task.dataset).options
        assert set(task.options) | set(task.quick_options) <= set(declared)
        assert all("{}" not in prompt for prompt in task.class_prompts)
        assert len(set(task.class_prompts)) == len(task.class_values)
    for row in recipe.rows:
        assert set(row.printed) <= {task.key for task in recipe.tasks}
        assert row.method is not None or row.printed


def test_printed_numbers_of_table_1():
    rows = {row.key: row for row in load_recipe("table1").rows}
    assert rows["adapter"].printed["hci"]["accuracy"] == Printed(mean=72.8, std=2.6)
    assert rows["adapter"].printed["adience"]["mae"] == Printed(mean=0.36, std=0.03)
    assert rows["numclip"].printed.keys() == {"hci"}
    assert rows["instructblip"].method is None
    assert rows["coop-printed"].printed["hci"]["mae"] == Printed(mean=0.76, std=0.06)


def test_printed_numbers_of_table_7():
    rows = {row.key: row for row in load_recipe("utkface").rows}
    assert rows["adapter"].printed["utkface"]["mae"] == Printed(mean=3.83)
    assert rows["mivolo"].printed["utkface"]["mae"] == Printed(mean=4.23)


def test_quick_keeps_everything_but_steps_and_images():
    recipe = load_recipe("table1")
    quick = recipe.to_quick()
    assert quick.quick
    assert [r.key for r in quick.rows] == [r.key for r in recipe.rows]
    assert quick.tasks[1].options["train"] == 15
    assert quick.tasks[1].class_prompts == recipe.tasks[1].class_prompts
    steps = {r.key: r.method for r in quick.rows if r.method is not None}
    assert steps["adapter"].train.steps <= 200
    assert steps["coop"].steps <= 200


def test_a_copied_and_edited_file_is_a_recipe(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        '"""My table."""\n'
        "import dataclasses\n"
        "from adapter.recipes.table1 import RECIPE as TABLE1\n"
        "RECIPE = dataclasses.replace(TABLE1, name='mine', seeds=(0, 1, 2))\n"
    )
    recipe, docstring = load_module(str(path))
    assert (recipe.name, recipe.seeds, docstring) == ("mine", (0, 1, 2), "My table.")


def test_the_example_of_the_documentation_is_a_recipe(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "reproduce.md").read_text("utf-8")
    path = tmp_path / "example.py"
    path.write_text(text.split("```python\n")[1].split("```")[0])
    recipe = load_recipe(str(path))
    assert {row.key: row.method for row in recipe.rows}["adapter"].train.steps == 50_000


def test_the_recipe_for_a_new_paper_in_the_documentation_runs(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "reproduce.md").read_text("utf-8")
    file = tmp_path / "sharpness.py"
    file.write_text(text.split("```python\n")[2].split("```")[0])
    write_photos(tmp_path / "photos")
    recipe = load_recipe(str(file)).to_quick()
    spec = BackboneSpec(name="demo-seeded-vit", pretrained="seed:0", token_pool=4)
    result = reproduce([recipe], tmp_path, tmp_path / "out", spec, Options(device="cpu"))
    assert (result.failed, result.missing, result.computed) == ((), (), 3)
    doc = result.tables[0].to_dict()
    assert "weights are random (seed:0)" in " ".join(doc["notes"])
    rows = {row["key"]: row for row in doc["rows"]}
    ridge = rows["ridge"]["tasks"]["photos"]["metrics"]
    assert ridge["srcc"]["mean"] > 0.8
    assert rows["sharpnet"]["tasks"]["photos"]["metrics"]["srcc"]["printed"] == 0.9
    compared = {(c["row"], c["metric"]) for c in doc["comparisons"]}
    assert compared == {(r, m) for r in ("clip-iqa", "adapter") for m in ("plcc", "srcc", "mae")}


def write_photos(folder):
    """Noisy gray photos with a table of labels; the label is the brightness."""
    generator = np.random.default_rng(0)
    lines = ["path,query,value,split"]
    folder.mkdir()
    for number in range(40):
        level = generator.uniform(0, 100)
        pixels = generator.normal(30 + 2 * level, 10, (24, 24, 3)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        split = "test" if number % 4 == 3 else "train"
        query = "sort images by the image quality of sharpness."
        lines.append(f"{number}.png,{query},{level:.2f},{split}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def test_what_is_no_recipe_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="there are table1"):
        load_recipe("table99")
    with pytest.raises(ConfigError, match="no such file"):
        load_recipe(str(tmp_path / "no.py"))
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(ConfigError, match="RECIPE"):
        load_recipe(str(tmp_path / "empty.py"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ("one",)}, "class names"),
        ({"class_values": tuple(float(v) for v in range(8, 0, -1))}, "ascend"),
        ({"class_prompt": "a photo."}, "name of the class"),
        ({"folds": ()}, "folds"),
        ({"metrics": ("accuracy", "f1")}, "f1"),
    ],
)
def test_contradictions_in_a_task_are_refused(change, message):
    task = load_recipe("table1").tasks[0]
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(task, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "instructblip"}, "not run"),
        ({"seeds": (0, 0)}, "seeds"),
        ({"rows": ()}, "row"),
    ],
)
def test_contradictions_in_a_recipe_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(load_recipe("table1"), **change)


def test_listing_recipes_does_not_import_torch():
    code = (
        "import sys; from adapter.recipes import RECIPES, load_recipe;"
        "[load_recipe(name) for name in RECIPES]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "content", [b"RECIPE = (", b"import no_such_module", "RECIPE = 1".encode("utf-16")]
)
def test_a_file_that_cannot_be_run_is_named(tmp_path, content):
    file = tmp_path / "mine.py"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"mine\.py: this recipe cannot be run: \w+Error"):
        load_recipe(str(file))


def test_the_study_of_the_preset_best_runs(tmp_path):
    photos = tmp_path / "biq_sample"
    photos.mkdir()
    generator = np.random.default_rng(0)
    lines = ["path,task,query,value"]
    for n in range(30):
        pixels = np.full((16, 16, 3), 8 * n, np.uint8) + generator.integers(0, 8, (16, 16, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(photos / f"{n}.png")
        lines.append(f"{n}.png,quality,sort images by the image quality.,{n / 30}")
    (photos / "labels.csv").write_text("\n".join(lines))
    short = load_recipe("best-study").to_quick()
    recipe = dataclasses.replace(
        short,
        tasks=(dataclasses.replace(short.tasks[0], resplit=Resplit(test=10)),),
        rows=tuple(
            row
            if row.key.startswith("ridge")
            else dataclasses.replace(
                row,
                method=dataclasses.replace(
                    row.method, train=dataclasses.replace(row.method.train, steps=3)
                ),
            )
            for row in short.rows
        ),
        seeds=(0,),
    )
    spec = BackboneSpec(name="demo-seeded-vit", pretrained="seed:0", token_pool=4)
    options = Options(device="cpu")
    result = reproduce([recipe], tmp_path, tmp_path / "out", spec, options)
    assert (result.missing, result.failed, result.computed) == ((), (), 5)
    compared = {(c["row"], c["metric"]) for c in result.tables[0].to_dict()["comparisons"]}
    assert {("released", "srcc"), ("ridge", "mae")} <= compared
    again = reproduce([recipe], tmp_path, tmp_path / "out", spec, options)
    assert (again.computed, again.reused) == (0, 5)


def test_the_long_study_shares_the_cells_of_the_short_one():
    short, long = load_recipe("best-study"), load_recipe("best-study-long")
    assert long.rows == short.rows
    for one, two in zip(short.tasks, long.tasks, strict=False):
        assert dataclasses.replace(two, folds=one.folds) == one
    assert set(short.seeds) < set(long.seeds)
    sizes = [t.resplit.train for t in long.tasks if t.key.startswith("ages-")]
    assert sizes == [50, 100, 200, 400, 800]


def test_each_row_of_the_ablation_leaves_one_part_out():
    short, ablation = load_recipe("best-study"), load_recipe("best-ablation")
    assert ablation.tasks == short.tasks
    methods = {row.key: row.method for row in ablation.rows}
    best = methods["best"]
    assert best == {row.key: row.method for row in short.rows}["best"]
    view, pairs = methods["best-one-view"], methods["best-no-pairs"]
    assert view.train.sampling.views == ("original",)
    sampling = view.train.sampling.replace(views=())
    assert dataclasses.replace(view, train=view.train.replace(sampling=sampling)) == best
    assert (pairs.model.pair_head, pairs.loss.ranking) == ("none", "none")
    assert dataclasses.replace(pairs, model=best.model, loss=best.loss) == best


def test_cells_outlive_new_settings():
    """A setting that came later is no part of a cell's name while it has its default."""
    rows = {row.key: row.method for row in load_recipe("best-study").rows}
    released, method = describe(rows["released"]), rows["released"]
    assert "standardize" not in released["model"]
    assert "stack_once" not in released["train"]
    changed = dataclasses.replace(method, model=method.model.replace(standardize=True))
    assert describe(changed)["model"]["standardize"] is True
    # As the cells of the results page were named, before those settings.
    assert digest(describe(rows["best"])) == "9937a2fd3018c8cebfd00c65976dd531"

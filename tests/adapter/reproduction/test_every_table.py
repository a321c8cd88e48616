"""Every recipe of the papers runs to its end, on drawn stand-ins with few steps."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from adapter.recipes import whole_tables
from adapter.reproduction.options import Options
from adapter.reproduction.reproduce import reproduce
from featcache.backbone import BackboneSpec
from featcache.datasets.miniatures import write

SIZES = {"adience": 40, "hci": 50, "utkface": 80, "tid2013": None}
FEW = {"steps": 4, "encoder_steps": 3, "epochs": 1}


def hurried(method: Any) -> Any:
    """Let a method take even fewer steps than a quick one."""
    method = method.quick()
    changes: dict[str, Any] = {f.name: FEW[f.name] for f in fields(method) if f.name in FEW}
    if hasattr(method, "train"):
        changes["train"] = replace(method.train, steps=4)
    return replace(method, **changes)


def small(recipe: Any) -> Any:
    """Two folds, and few steps."""
    return replace(
        recipe,
        quick=True,
        views=("original",),
        tasks=tuple(replace(task, folds=task.folds[:2]) for task in recipe.tasks),
        rows=tuple(
            row
            if row.method is None
            else replace(
                row,
                method=hurried(row.method),
                methods={key: hurried(method) for key, method in row.methods.items()},
            )
            for row in recipe.rows
        ),
    )


@pytest.mark.slow
def test_every_table_runs_to_its_end(tmp_path):
    recipes = [small(recipe) for recipe in whole_tables()]
    assert len(recipes) == 20
    for name in {task.dataset for recipe in recipes for task in recipe.tasks}:
        write(name, tmp_path / "data" / name, SIZES.get(name, 48))
    spec = BackboneSpec(name="demo-seeded-vit", pretrained="seed:0")
    options = Options(device="cpu", same_model=True)
    result = reproduce(recipes, tmp_path / "data", tmp_path / "out", spec, options)
    assert (result.failed, result.missing) == ((), ())
    assert len(result.files) == 5 * len(recipes) + 1
    for table in result.tables:
        doc = table.to_dict()
        for row in doc["rows"]:
            for task in doc["tasks"]:
                entry = row["tasks"][task["key"]]
                assert entry["status"] in ("", "not possible")
                if row["kind"] == "run" and not entry["status"]:
                    assert entry["folds_run"] > 0, (doc["recipe"], row["key"], task["key"])
    # Cells of Tables 1 to 3 stand in the others without being computed again.
    again = reproduce(recipes, tmp_path / "data", tmp_path / "out", spec, options)
    assert again.computed == 0
    shown = sum(
        entry["folds_run"]
        for table in result.tables
        for row in table.to_dict()["rows"]
        for entry in row["tasks"].values()
    )
    assert shown > 1.25 * result.computed

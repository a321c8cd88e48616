"""Recipes: tables of the papers as files to run, copy and edit.

One file per table, nothing but data; ``adapter.reproduction.recipe`` says what belongs in it.
Nothing here imports torch.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from adapter.errors import ConfigError
from adapter.reproduction.recipe import Recipe

# name -> module; `adapter reproduce --list` shows them.
RECIPES = {
    "table1": "adapter.recipes.table1",
    "table2": "adapter.recipes.table2",
    "table3": "adapter.recipes.table3",
    "table4": "adapter.recipes.table4",
    "table5": "adapter.recipes.table5",
    "table6": "adapter.recipes.table6",
    "table7": "adapter.recipes.table7",
    "table8": "adapter.recipes.table8",
    "table9": "adapter.recipes.table9",
    "table10": "adapter.recipes.table10",
    "table11": "adapter.recipes.table11",
    "table12": "adapter.recipes.table12",
    "clip-iqa-table1": "adapter.recipes.clip_iqa_table1",
    "clip-iqa-table2": "adapter.recipes.clip_iqa_table2",
    "clip-iqa-table5": "adapter.recipes.clip_iqa_table5",
    "tmcr-table1": "adapter.recipes.tmcr_table1",
    "tmcr-table2": "adapter.recipes.tmcr_table2",
    "tmcr-table3": "adapter.recipes.tmcr_table3",
    "tmcr-table4": "adapter.recipes.tmcr_table4",
    "tmcr-table5": "adapter.recipes.tmcr_table5",
    "coco-sample": "adapter.recipes.coco_sample",
    "utkface-sample": "adapter.recipes.utkface_sample",
}
# Of this project's own settings; no paper has them.
STUDIES = {
    "best-study": "adapter.recipes.best_study",
    "best-study-long": "adapter.recipes.best_study_long",
    "best-ablation": "adapter.recipes.best_ablation",
}
OLD_NAMES = {"utkface": "table7"}


def whole_tables() -> tuple[Recipe, ...]:
    """Load every table of the papers, without those for small computers."""
    return tuple(load_recipe(name) for name in RECIPES if not name.endswith("-sample"))


def load_recipe(name: str) -> Recipe:
    """Load a recipe by name, or from a Python file, whose code is run.

    Raises:
        ConfigError: There is none, or it does not define ``RECIPE``.
    """
    return load_module(name)[0]


def load_module(name: str) -> tuple[Recipe, str]:
    """Load a recipe and its file's docstring; arguments and errors as :func:`load_recipe`."""
    name = OLD_NAMES.get(name, name)
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"{name}: there is no such file")
        spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{name}: not a Python file")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # whatever the user's code raises
            raise ConfigError(
                f"{name}: this recipe cannot be run: {type(error).__name__}: {error}"
            ) from error
    elif name in RECIPES | STUDIES:
        module = importlib.import_module((RECIPES | STUDIES)[name])
    else:
        raise ConfigError(
            f"there is no recipe {name!r}; there are {', '.join(RECIPES | STUDIES)}, or give a "
            "file such as my_recipe.py"
        )
    recipe = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"{name}: the file must define RECIPE = Recipe(...)")
    return recipe, module.__doc__ or ""

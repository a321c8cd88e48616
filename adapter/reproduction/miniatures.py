"""Recipes on drawn stand-ins of their data sets, for those who do not have the data.

Everything runs as with the real data sets: the same readers, methods, folds and tables. The
pictures are drawn, the backbone is the small CLIP that comes with this package, the training is
that of ``--quick``. So the numbers show that all of it works and nothing else, and every table says
so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adapter.reproduction.sources import find_data, missing_lines
from featcache.datasets.miniatures import write
from featcache.datasets.records import DRAWN_BACKBONE
from featcache.datasets.stand_in import read_marker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from adapter.reproduction.recipe import Recipe, Task

BACKBONE = DRAWN_BACKBONE.name
NOTE = f"Small adapters, few steps, and one backbone, {BACKBONE}, for every other that a row names."


def draw_data(
    recipes: Sequence[Recipe], folder: Path, on_data_set: Callable[[Task], None]
) -> tuple[Recipe, ...]:
    """Draw a miniature of each data set that recipes need, where there is none of any size yet.

    Args:
        recipes: What will be run.
        folder: As ``--data``.
        on_data_set: Told which is next.

    Returns:
        The recipes with few steps, to be run on these data.

    Raises:
        DatasetError: There is no miniature of a data set, or its place holds something else.
    """
    places = {folder / task.folders[0]: task for recipe in recipes for task in recipe.tasks}
    for place, task in places.items():
        there = read_marker(place)
        if there is None or there.dataset != task.dataset:
            on_data_set(task)
            write(task.dataset, place)
    # The marker of a miniature says which splits fit it, not ``quick_options``.
    return tuple(replace(recipe.to_quick(), tasks=recipe.tasks) for recipe in recipes)


def data_are_there(recipes: Sequence[Recipe], data: Path) -> bool:
    """Whether at least one data set of the recipes lies below a folder."""
    return any(find_data(data, task)[1].ok for recipe in recipes for task in recipe.tasks)


def how_to_get(recipes: Sequence[Recipe], data: Path) -> list[str]:
    """Say what to download, from whom, and where to put it: for each data set, once."""
    tasks = {task.dataset: task for recipe in recipes for task in recipe.tasks}
    lines = []
    for task in tasks.values():
        _, report = find_data(data, task)
        if not report.ok or report.stand_in:
            lines += missing_lines(task, report)
    return lines

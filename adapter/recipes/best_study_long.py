"""The long form of `best-study`: three splits, five seeds, and a learning curve.

    adapter reproduce best-study-long --data DIR --out DIR --model-config CONFIG.json
        --pretrained WEIGHTS.safetensors --token-pool 4 --unaligned-text

Data, splits and settings are those of ``best_study.py``. The curve has training parts of 50, 100,
200, 400 and 800 images; each lies within the next. It can be stopped, and goes on where it was.

Known results: docs/results.md.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.recipes.best_study import AGES, QUALITY
from adapter.recipes.best_study import RECIPE as SHORT
from adapter.reproduction.recipe import Resplit, Task

SPLITS = (0, 1, 2)


def smaller(task: Task, images: int) -> Task:
    """Return a task with fewer training images."""
    test = task.resplit.test if task.resplit is not None else 0
    return replace(
        task,
        key=f"{task.key}-{images}",
        title=f"{task.title}, {images} to train",
        folds=SPLITS,
        resplit=Resplit(test=test, train=images),
        split=f"{test} images for the test, {images} to train, drawn by number",
    )


RECIPE = replace(
    SHORT,
    name="best-study-long",
    title="The preset best: splits, seeds and a learning curve",
    tasks=(
        replace(QUALITY, folds=SPLITS),
        replace(AGES, folds=SPLITS),
        *(smaller(QUALITY, images) for images in (50, 100, 200, 400)),
        *(smaller(AGES, images) for images in (50, 100, 200, 400, 800)),
    ),
    seeds=(0, 1, 2, 3, 4),
)

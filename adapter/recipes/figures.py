"""The papers' figures that are made of rankings and scores: data, nothing else.

    adapter figure --list
    adapter figure figure5 --data DIR --out DIR

Each names the tasks and rows that it needs, which are those of the tables, and how they are shown.
Which photos a paper shows cannot be repeated; what is shown here are those of the user's data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adapter.errors import ConfigError
from adapter.methods.clip_iqa import ClipIqa
from adapter.methods.ridge import RidgeProbe
from adapter.methods.tmcr import Tmcr
from adapter.recipes.clip_iqa_table1 import NATIVE
from adapter.recipes.rows import LONG, adapter, adapter_row
from adapter.recipes.tasks import (
    ADIENCE,
    AGIQA,
    AVA,
    AVA_BRIGHTNESS,
    AVA_COLOR,
    AVA_CONTRAST,
    CLEVR_COLOR,
    CLEVR_MATERIAL,
    CLEVR_SHAPE,
    COCO_REM,
    HCI,
    KONIQ,
    KONIQ_TRAINING,
    LVIS,
)
from adapter.reproduction.figure import (
    Attributes,
    Categories,
    Distributions,
    Figure,
    Pairs,
    Relevance,
    Sampling,
    Spaces,
    Strips,
    Variations,
    Wishes,
)
from adapter.reproduction.recipe import Recipe, Row

if TYPE_CHECKING:
    from adapter.reproduction.figure import Kind
    from adapter.reproduction.recipe import Task

RANKING_AWARE = "arXiv 2412.06760v3"
CLIP_IQA = "Wang et al., AAAI 2023"
TMCR = "TMCR, ACM MM 2024"


def figure(
    name: str,
    number: str,
    paper: str,
    title: str,
    tasks: tuple[Task, ...],
    rows: tuple[Row, ...],
    kind: Kind,
    table: str,
    *notes: str,
    native: bool = False,
) -> Figure:
    """Return a figure over the first split of its tasks."""
    return Figure(
        name=name,
        title=title,
        source=f"Figure {number} of {paper}",
        recipe=Recipe(
            name=name,
            title=title,
            source=f"Figure {number} of {paper}",
            tasks=tuple(replace(task, folds=task.folds[:1]) for task in tasks),
            rows=rows,
            reference=rows[0].key,
            backbone=NATIVE if native else {},
        ),
        kind=kind,
        table=table,
        notes=notes,
    )


def ours(*tasks: Task) -> tuple[Row, ...]:
    """Return the adapter's row, as in the tables."""
    return (adapter_row("adapter", "Ranking-aware adapter", {}, tuple(t.key for t in tasks)),)


def together(*tasks: Task, learns: tuple[Task, ...] = ()) -> tuple[Row, ...]:
    """Return one adapter that learns several tasks."""
    shares = {task.key: 1.0 for task in learns or tasks}
    return (Row(key="adapter", title="Ranking-aware adapter", method=adapter(LONG), learns=shares),)


CLIP = (Row(key="clip-iqa", title="CLIP-IQA", method=ClipIqa()),)
# What LVIS calls categories of COCO.
LVIS_WORDS = (
    *("bus (vehicle)", "car (automobile)", "cellular telephone", "computer keyboard"),
    *("dining table", "doughnut", "fireplug", "hair dryer", "laptop computer"),
    *("microwave oven", "mouse (computer equipment)", "necktie", "orange (fruit)"),
    *("remote control", "ski", "sofa", "television set", "train (railroad vehicle)", "wineglass"),
)
ATTRIBUTES_OF_AVA = (AVA, AVA_CONTRAST, AVA_COLOR, AVA_BRIGHTNESS)
SHOWN = "Which data set this figure of the paper shows is our reading."
DISTANCE = (
    "Relevance to r is the distance of the predicted count to r; the paper trains a model for it "
    "(`--set sampling.relevance=true` does, see docs/training.md)."
)

FIGURES: dict[str, Figure] = {
    found.name: found
    for found in (
        figure(
            *("figure4", "4", RANKING_AWARE, "Ranked by the number of objects", (COCO_REM,)),
            together(COCO_REM),
            Strips(row="adapter", tasks=(COCO_REM.key,)),
            "table2",
            SHOWN,
        ),
        figure(
            *("figure5", "5", RANKING_AWARE, "Ranked by quality and aesthetics", (KONIQ, AVA)),
            ours(KONIQ, AVA),
            Strips(row="adapter", tasks=(KONIQ.key, AVA.key)),
            "table3",
            SHOWN,
        ),
        figure(
            *("figure6", "6", RANKING_AWARE, "Ranked by age and by date", (ADIENCE, HCI)),
            ours(ADIENCE, HCI),
            Strips(row="adapter", tasks=(ADIENCE.key, HCI.key)),
            "table1",
            SHOWN,
        ),
        figure(
            *("figure7", "7", RANKING_AWARE, "Ranked by relevance to a count", (COCO_REM,)),
            together(COCO_REM),
            Relevance(row="adapter", task=COCO_REM.key),
            "table2",
            DISTANCE,
        ),
        figure(
            *("figure8", "8", RANKING_AWARE, "Ranked by objects of an attribute"),
            (CLEVR_COLOR, CLEVR_MATERIAL, CLEVR_SHAPE),
            together(CLEVR_COLOR, CLEVR_MATERIAL, CLEVR_SHAPE),
            Strips(
                row="adapter",
                tasks=(CLEVR_COLOR.key, CLEVR_MATERIAL.key, CLEVR_SHAPE.key),
                most=2,
            ),
            "table8",
        ),
        figure(
            *("figure9", "9", RANKING_AWARE, "Categories that were never learned"),
            (COCO_REM, LVIS),
            together(COCO_REM, learns=(COCO_REM,)),
            Categories(row="adapter", learned=COCO_REM.key, tested=LVIS.key, same=LVIS_WORDS),
            "table2",
            "Learned from COCO-ReM's 80 categories; tested on LVIS's others.",
        ),
        figure(
            *("figure10", "10", RANKING_AWARE, "Generated images, a model of photographs"),
            (KONIQ, AGIQA),
            together(KONIQ, learns=(KONIQ,)),
            Strips(row="adapter", tasks=(AGIQA.key,), count=5),
            "table3",
            "Learned from KonIQ-10k.",
        ),
        figure(
            *("figure10-ava", "10", RANKING_AWARE, "Generated images, a model of aesthetics"),
            (AVA, AGIQA),
            together(AVA, learns=(AVA,)),
            Strips(row="adapter", tasks=(AGIQA.key,), count=5),
            "table3",
            "Learned from AVA.",
        ),
        figure(
            *("figure11", "11", RANKING_AWARE, "Contrast and brightness", ATTRIBUTES_OF_AVA),
            together(*ATTRIBUTES_OF_AVA),
            Wishes(row="adapter", tasks=(AVA_CONTRAST.key, AVA_BRIGHTNESS.key)),
            "table4",
        ),
        figure(
            *("figure12", "12", RANKING_AWARE, "Aesthetics and color", ATTRIBUTES_OF_AVA),
            together(*ATTRIBUTES_OF_AVA),
            Wishes(row="adapter", tasks=(AVA.key, AVA_COLOR.key)),
            "table4",
            "The paper multiplies with the number of persons, which AVA has no labels of.",
        ),
        figure(
            *("clip-iqa-figure3", "3", CLIP_IQA, "Best and worst: how photos look"),
            *((KONIQ_TRAINING,), CLIP),
            Attributes(
                task=KONIQ_TRAINING.key,
                names=("quality", "brightness", "noisiness", "colorfulness", "sharpness"),
            ),
            "clip-iqa-table1",
            native=True,
        ),
        figure(
            *("clip-iqa-figure4", "4", CLIP_IQA, "Scores of photos that are changed on purpose"),
            *((KONIQ_TRAINING,), CLIP),
            Variations(task=KONIQ_TRAINING.key),
            "clip-iqa-table1",
            native=True,
        ),
        figure(
            *("clip-iqa-figure5", "5", CLIP_IQA, "Pairs of low and high quality"),
            *((KONIQ_TRAINING,), CLIP),
            Pairs(),
            "clip-iqa-table1",
            native=True,
        ),
        figure(
            *("clip-iqa-figure6", "6", CLIP_IQA, "Best and worst: how photos feel"),
            *((AVA,), CLIP),
            Attributes(
                task=AVA.key,
                names=("aesthetics", "happiness", "naturalness", "newness", "scariness"),
            ),
            "clip-iqa-table1",
            native=True,
        ),
        figure(
            *("clip-iqa-figure8", "8", CLIP_IQA, "Best and worst: more of the feel"),
            *((AVA,), CLIP),
            Attributes(task=AVA.key, names=("complexity", "warmth", "realness", "beauty")),
            "clip-iqa-table1",
            native=True,
        ),
        figure(
            *("clip-iqa-figure9", "9", CLIP_IQA, "Best and worst: loneliness and relaxation"),
            *((AVA,), CLIP),
            Attributes(task=AVA.key, names=("loneliness", "relaxation", "contrast")),
            "clip-iqa-table1",
            native=True,
        ),
        figure(
            *("tmcr-figure5", "5", TMCR, "How labels and predictions spread", (AVA,)),
            (
                Row(key="tmcr-frozen", title="TMCR, frozen", method=Tmcr(finetune=True)),
                Row(key="ridge", title="Ridge, both", method=RidgeProbe()),
            ),
            Distributions(task=AVA.key, rows=("tmcr-frozen", "ridge")),
            "tmcr-table3",
        ),
        figure(
            *("tmcr-figure6", "6", TMCR, "How often images of each score are drawn", (AVA,)),
            (Row(key="ridge", title="Ridge, both", method=RidgeProbe()),),
            Sampling(task=AVA.key),
            "tmcr-table3",
        ),
        figure(
            *("tmcr-figure7", "7", TMCR, "Three spaces, and the tags that fit best", (AVA,)),
            (Row(key="ridge", title="Ridge, both", method=RidgeProbe()),),
            Spaces(task=AVA.key),
            "tmcr-table4",
        ),
    )
}


def load_figure(name: str) -> Figure:
    """Return a figure by name.

    Raises:
        ConfigError: There is none.
    """
    if name not in FIGURES:
        raise ConfigError(f"there is no figure {name!r}; there are {', '.join(FIGURES)}")
    return FIGURES[name]

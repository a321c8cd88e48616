"""Table 2: counts of objects, COCO-ReM, 80 categories.

    adapter reproduce table2 --data DIR --out DIR

Data: DIR/coco-rem with instances_trainrem.json and instances_valrem.json, and the images of COCO
2017. One model learns all categories. The paper's numbers are over counts from one on, as far as
the authors' example file tells; those with zeros stand beside them, and a last pair of columns
tests the same models under labels that ignore crowds.

Known results: none yet with the paper's backbone. On 207 images of COCO with a backbone that is
not CLIP (``coco-sample``), see docs/results.md.
"""

from __future__ import annotations

from adapter.methods.clip_tuned import counting_clip
from adapter.methods.ridge import RidgeProbe
from adapter.methods.zero_shot import ZeroShot
from adapter.recipes.rows import FEWER_STEPS, LONG, VISION_LANGUAGE, adapter, correlations, quoted
from adapter.recipes.tasks import COCO_REM, COCO_REM_CROWDS
from adapter.reproduction.recipe import Recipe, Row

KEY = COCO_REM.key
LEARNS = {KEY: 1.0}  # the last columns test the models of the first

RECIPE = Recipe(
    name="table2",
    title="Counting objects: COCO-ReM",
    source="Table 2 of arXiv 2412.06760v3",
    tasks=(COCO_REM, COCO_REM_CROWDS),
    rows=(
        quoted("blip2", "BLIP-2", VISION_LANGUAGE, {KEY: correlations(0.284, 0.252)}),
        quoted(
            "flamingo", "Flamingo, 10 shots", VISION_LANGUAGE, {KEY: correlations(0.033, 0.031)}
        ),
        quoted("instructblip", "InstructBLIP", VISION_LANGUAGE, {KEY: correlations(0.509, 0.485)}),
        quoted("vila", "VLM-VILA", VISION_LANGUAGE, {KEY: correlations(0.558, 0.507)}),
        Row(
            key="zero-shot",
            title="CLIP, zero-shot",
            method=ZeroShot(),
            learns=LEARNS,
            printed={KEY: correlations(0.026, 0.001)},
        ),
        Row(
            key="countingclip",
            title="CountingCLIP",
            method=counting_clip(steps=20_000),
            learns=LEARNS,
            printed={KEY: correlations(0.251, 0.422)},
            note="A linear map on each side of a frozen CLIP; the original trains both towers.",
        ),
        Row(
            key="ridge",
            title="Ridge, both",
            method=RidgeProbe(),
            learns=LEARNS,
            note="A map per category, learned from its counts and a quarter as many zeros.",
        ),
        Row(
            key="adapter",
            title="Ranking-aware adapter",
            method=adapter(LONG),
            learns=LEARNS,
            printed={KEY: correlations(0.624, 0.557)},
            note=FEWER_STEPS,
        ),
    ),
    reference="adapter",
    notes=("The paper does not say how it counts crowds, nor whether it tests zeros.",),
)

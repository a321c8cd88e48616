"""Table 9: the four tasks side by side, from cells that the other tables have computed.

    adapter reproduce table9 --data DIR --out DIR

Data: DIR/coco-rem, DIR/koniq10k, DIR/adience, DIR/hci.

Known results: none yet with the paper's backbone.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.methods.clip_tuned import ClipTuned, counting_clip
from adapter.methods.zero_shot import ZeroShot
from adapter.recipes.rows import VISION_LANGUAGE, adapter_row, correlations, error, quoted
from adapter.recipes.tasks import ADIENCE, COCO_REM, HCI, KONIQ
from adapter.reproduction.recipe import Metric, Printed, Recipe, Row

TASKS = (COCO_REM, KONIQ, replace(ADIENCE, metrics=("mae",)), replace(HCI, metrics=("mae",)))


def printed(
    counts: tuple[float, float], koniq: tuple[float, float], adience: float, hci: float
) -> dict[str, dict[Metric, Printed]]:
    """Return (PLCC, SRCC) of counts and of KonIQ, and the MAE of Adience and HCI."""
    return {
        COCO_REM.key: correlations(*counts),
        KONIQ.key: correlations(*koniq),
        ADIENCE.key: error(adience),
        HCI.key: error(hci),
    }


RECIPE = Recipe(
    name="table9",
    title="All four tasks",
    source="Table 9 of arXiv 2412.06760v3",
    tasks=TASKS,
    rows=(
        Row(
            key="clip",
            title="CLIP, baseline",
            method=ZeroShot(),
            methods={KONIQ.key: ClipTuned(steps=8000), COCO_REM.key: counting_clip(steps=20_000)},
            printed=printed((0.251, 0.422), (0.245, 0.216), 0.80, 1.48),
            note="As in the paper: zero-shot on faces and dates, tuned on quality and counts.",
        ),
        quoted(
            "instructblip",
            "InstructBLIP",
            VISION_LANGUAGE,
            printed((0.509, 0.485), (0.211, 0.163), 0.41, 0.96),
        ),
        adapter_row(
            "adapter",
            "Ranking-aware adapter",
            printed((0.624, 0.557), (0.919, 0.911), 0.36, 0.32),
            tuple(task.key for task in TASKS),
        ),
    ),
    reference="adapter",
)

"""Table 12: four backbones; counts, KonIQ-10k, HCI and Adience.

    adapter reproduce table12 --data DIR --out DIR

Data: DIR/coco-rem, DIR/koniq10k, DIR/hci, DIR/adience. Each backbone has caches of its own. The
paper does not name the weights of the first three; ours are named in the rows.

Known results: none yet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adapter.recipes.rows import FEWER_STEPS, adapter_row, correlations, error
from adapter.recipes.tasks import ADIENCE, COCO_REM, HCI, KONIQ
from adapter.reproduction.recipe import Recipe, Row

if TYPE_CHECKING:
    from collections.abc import Mapping

TASKS = (COCO_REM, KONIQ, replace(HCI, metrics=("mae",)), replace(ADIENCE, metrics=("mae",)))


def row(
    key: str,
    title: str,
    backbone: Mapping[str, Any],
    counts: tuple[float, float],
    koniq: tuple[float, float],
    hci: float,
    adience: float,
    note: str = "",
) -> Row:
    """Return the adapter on one backbone."""
    made = adapter_row(
        key,
        title,
        {
            COCO_REM.key: correlations(*counts),
            KONIQ.key: correlations(*koniq),
            HCI.key: error(hci),
            ADIENCE.key: error(adience),
        },
        tuple(task.key for task in TASKS),
        note=" ".join(part for part in (FEWER_STEPS, note) if part),
    )
    return replace(made, backbone=backbone)


RECIPE = Recipe(
    name="table12",
    title="Backbones",
    source="Table 12 of arXiv 2412.06760v3",
    tasks=TASKS,
    rows=(
        row(
            "vit-b-16",
            "ViT-B/16, 224",
            {"name": "ViT-B-16", "pretrained": "laion2b_s34b_b88k"},
            *((0.574, 0.497), (0.929, 0.911), 0.45, 0.39),
            note="The paper does not name the weights of its ViT-B/16.",
        ),
        row(
            "convnext-b",
            "ConvNeXt-B, 224",
            {"name": "convnext_base", "pretrained": "laion400m_s13b_b51k"},
            *((0.546, 0.480), (0.926, 0.904), 0.44, 0.39),
            note="Which of two ConvNeXt-B the paper takes is not said.",
        ),
        row(
            "convnext-l-224",
            "ConvNeXt-L, 224",
            {"name": "convnext_large_d", "pretrained": "laion2b_s26b_b102k_augreg"},
            *((0.592, 0.520), (0.920, 0.900), 0.41, 0.40),
            note="Its own size is 256 pixels, which is what it reads here.",
        ),
        row(
            "convnext-l-320",
            "ConvNeXt-L, 320",
            {},
            *((0.624, 0.557), (0.919, 0.911), 0.32, 0.36),
        ),
    ),
    reference="convnext-l-320",
)

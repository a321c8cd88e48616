"""Table 11: the number M of relational tokens; HCI, KonIQ-10k and counts.

    adapter reproduce table11 --data DIR --out DIR

Data: DIR/hci, DIR/koniq10k, DIR/coco-rem. M = 16 is the adapter of the other tables.

Known results: none yet with the paper's backbone.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.recipes.rows import adapter_row, correlations, error
from adapter.recipes.tasks import COCO_REM, HCI, KONIQ
from adapter.reproduction.recipe import Recipe, Row

TASKS = (replace(HCI, metrics=("mae",)), KONIQ, COCO_REM)

PRINTED = {
    1: (0.321, (0.9182, 0.9104), (0.6003, 0.5211)),
    4: (0.343, (0.9172, 0.9087), (0.6197, 0.5483)),
    9: (0.321, (0.9173, 0.9087), (0.6167, 0.5451)),
    16: (0.313, (0.9194, 0.9107), (0.6242, 0.5571)),
}


def row(tokens: int) -> Row:
    """Return the adapter with M relational tokens."""
    hci, koniq, counts = PRINTED[tokens]
    return adapter_row(
        f"m{tokens}",
        f"M = {tokens}",
        {
            HCI.key: error(hci),
            KONIQ.key: correlations(*koniq),
            COCO_REM.key: correlations(*counts),
        },
        tuple(task.key for task in TASKS),
        relation_tokens=tokens,
    )


RECIPE = Recipe(
    name="table11",
    title="Number of relational tokens",
    source="Table 11 of arXiv 2412.06760v3",
    tasks=TASKS,
    rows=tuple(row(tokens) for tokens in PRINTED),
    reference="m16",
)

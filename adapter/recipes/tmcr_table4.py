"""TMCR, Table 4: tag matching alone, contrastive ranking alone, and both; AVA.

    adapter reproduce tmcr-table4 --data DIR --out DIR

Data: DIR/ava.

Known results: none yet.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.methods.ridge import RidgeProbe
from adapter.methods.tmcr import Tmcr
from adapter.recipes.rows import adapter_row, correlations
from adapter.recipes.tasks import AVA
from adapter.recipes.tmcr_table1 import FROZEN
from adapter.reproduction.recipe import Recipe, Row

KEY = AVA.key

ROWS = (
    Row(
        key="tmcr-tags",
        title="Tag matching alone",
        method=Tmcr(parts="tags"),
        printed={KEY: correlations(0.732, None)},
        note=FROZEN,
    ),
    Row(
        key="tmcr-contrast",
        title="Contrastive ranking alone",
        method=Tmcr(parts="contrast", finetune=True),
        note=FROZEN,
    ),
    Row(key="tmcr-frozen", title="Both", method=Tmcr(finetune=True), note=FROZEN),
    Row(
        key="tmcr-printed-loss",
        title="Both, traversal loss as printed",
        method=Tmcr(finetune=True, traversal="printed"),
        note=FROZEN,
    ),
    Row(key="ridge", title="Ridge, both", method=RidgeProbe()),
    adapter_row("adapter", "Ranking-aware adapter", {}, (KEY,)),
)

RECIPE = Recipe(
    name="tmcr-table4",
    title="TMCR: ablation of its parts, AVA",
    source="Table 4 of TMCR, ACM MM 2024",
    tasks=(replace(AVA, metrics=("plcc", "srcc", "mse")),),
    rows=ROWS,
    reference="tmcr-frozen",
    notes=("Of this table's numbers, the PLCC of tag matching is known here.",),
)

"""CLIP-IQA, Table 5: drawn distortions, TID2013.

    adapter reproduce clip-iqa-table5 --data DIR --out DIR

Data: DIR/tid2013 and, for CLIP-IQA+, DIR/koniq10k, from which it learns. Of this table one number
is known here, the SRCC of CLIP-IQA; an independent implementation has .50.

Known results: none yet.
"""

from __future__ import annotations

from adapter.methods.clip_iqa import ClipIqa, ClipIqaPlus
from adapter.recipes.clip_iqa_table1 import KONIQ, NATIVE
from adapter.recipes.tasks import TID2013
from adapter.reproduction.recipe import Printed, Recipe, Row

RECIPE = Recipe(
    name="clip-iqa-table5",
    title="CLIP-IQA: drawn distortions",
    source="Table 5 of Wang et al., AAAI 2023",
    tasks=(TID2013, KONIQ),
    rows=(
        Row(
            key="clip-iqa",
            title="CLIP-IQA",
            method=ClipIqa(),
            printed={TID2013.key: {"srcc": Printed(mean=0.51)}},
        ),
        Row(key="clip-iqa-ensemble", title="CLIP-IQA, five pairs", method=ClipIqa(ensemble=True)),
        Row(
            key="clip-iqa-plus",
            title="CLIP-IQA+",
            method=ClipIqaPlus(),
            learns={KONIQ.key: 1.0},
            note="Learned from KonIQ's training part.",
        ),
    ),
    reference="clip-iqa",
    backbone=NATIVE,
    notes=(
        "Which data this table of the paper is on is inferred from other papers that quote it.",
    ),
)

"""TMCR, Table 5: the contrastive encoder fixed, or trained with the head; AVA.

    adapter reproduce tmcr-table5 --data DIR --out DIR

Data: DIR/ava. The paper probes a trained Swin transformer; ours is a head on frozen tokens.

Known results: none yet.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.methods.tmcr import Tmcr
from adapter.recipes.rows import correlations
from adapter.recipes.tasks import AVA
from adapter.recipes.tmcr_table1 import FROZEN
from adapter.reproduction.recipe import Recipe, Row

KEY = AVA.key

RECIPE = Recipe(
    name="tmcr-table5",
    title="TMCR: probing and fine-tuning, AVA",
    source="Table 5 of TMCR, ACM MM 2024",
    tasks=(replace(AVA, metrics=("plcc", "srcc", "mse")),),
    rows=(
        Row(
            key="tmcr-lp",
            title="Encoder fixed (LP)",
            method=Tmcr(),
            printed={KEY: correlations(0.771, 0.762)},
            note=FROZEN,
        ),
        Row(
            key="tmcr-frozen",
            title="Encoder trained with the head (FT)",
            method=Tmcr(finetune=True),
            printed={KEY: correlations(0.790, 0.782)},
            note=FROZEN,
        ),
        Row(
            key="tmcr-mean",
            title="FT, mean of tokens",
            method=Tmcr(finetune=True, pooling="mean"),
            note=FROZEN,
        ),
    ),
    reference="tmcr-frozen",
)

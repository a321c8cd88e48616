"""What the parts of the preset `best` are worth: each row leaves one of them out.

    adapter reproduce best-ablation --data DIR --out DIR --model-config CONFIG.json
        --pretrained WEIGHTS.safetensors --token-pool 4 --unaligned-text

Data, split and settings are those of ``best_study.py``; with the same --out, its cells are shared.

Known results: docs/results.md.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.methods.adapter import Adapter
from adapter.network.losses import LossConfig
from adapter.recipes.best_study import BEST, NARROW
from adapter.recipes.best_study import RECIPE as SHORT
from adapter.reproduction.recipe import Row

ONE_VIEW = replace(BEST, sampling=BEST.sampling.replace(views=("original",)))
NO_PAIRS = LossConfig(ranking="none")

RECIPE = replace(
    SHORT,
    name="best-ablation",
    title="The preset best, and what each of its parts is worth",
    rows=(
        *(row for row in SHORT.rows if row.key in ("ridge", "released", "best")),
        Row(
            key="best-one-view",
            title="best, one view",
            method=Adapter(model=NARROW, train=ONE_VIEW),
        ),
        Row(
            key="best-no-pairs",
            title="best, without the ranking head",
            method=Adapter(model=NARROW.replace(pair_head="none"), loss=NO_PAIRS, train=BEST),
        ),
    ),
    seeds=(0,),
    notes=(*SHORT.notes, "One split and one seed."),
)

"""TMCR, Table 1: aesthetics, AVA.

    adapter reproduce tmcr-table1 --data DIR --out DIR

Data: DIR/ava. TMCR's own numbers are not on the official test list: its released lists are a
random 90, 5 and 5 per cent. Its contrastive encoder is a whole trained network; ours is a small
head on the frozen features that all tables share, so expect less.

Known results: none yet.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.methods.ridge import RidgeProbe
from adapter.methods.tmcr import Tmcr
from adapter.recipes.rows import VISUAL, adapter_row, correlations, quoted
from adapter.recipes.tasks import AVA
from adapter.reproduction.recipe import Recipe, Row

TASK = replace(AVA, metrics=("plcc", "srcc", "mse", "good"))
KEY = AVA.key
FROZEN = (
    "On frozen features of this table's backbone with this project's tag libraries; the original "
    "matches the authors' tags by CLIP ViT-L/14 at 336 pixels and trains its other encoder."
)
TRAINED = "quoted: it trains a backbone of its own; tmcr-frozen is what frozen features allow"

PRINTED = {
    "nima": ("NIMA", 0.647, 0.633),
    "zeng": ("Zeng et al.", 0.720, 0.719),
    "hosu": ("Hosu et al.", 0.757, 0.756),
    "musiq": ("MUSIQ", 0.738, 0.726),
    "niu": ("Niu et al.", 0.740, 0.734),
    "tanet": ("TANet", 0.765, 0.758),
    "aesclip": ("AesCLIP", 0.779, 0.771),
    "vila": ("VILA", 0.774, 0.774),
    "jia": ("Jia et al.", 0.775, 0.774),
}
BACKBONES = {
    "rn50": ("TMCR, ResNet-50", 0.760, 0.753),
    "vit": ("TMCR, ViT", 0.778, 0.771),
    "swin": ("TMCR, Swin", 0.790, 0.782),
}

RECIPE = Recipe(
    name="tmcr-table1",
    title="TMCR: aesthetics, AVA",
    source="Table 1 of TMCR, ACM MM 2024",
    tasks=(TASK,),
    rows=(
        *(
            quoted(key, title, VISUAL, {KEY: correlations(plcc, srcc)})
            for key, (title, plcc, srcc) in PRINTED.items()
        ),
        *(
            quoted(f"tmcr-{key}", title, TRAINED, {KEY: correlations(plcc, srcc)})
            for key, (title, plcc, srcc) in BACKBONES.items()
        ),
        Row(
            key="tmcr-frozen",
            title="TMCR on frozen features",
            method=Tmcr(finetune=True),
            note=FROZEN,
        ),
        Row(key="ridge", title="Ridge, both", method=RidgeProbe()),
        adapter_row("adapter", "Ranking-aware adapter", {}, (KEY,)),
    ),
    reference="tmcr-frozen",
)

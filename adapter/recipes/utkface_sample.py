"""UTKFace on a small computer: the recipe of table 7 with a narrow adapter and few steps.

    adapter reproduce utkface-sample --data DIR --out DIR --model-config CONFIG.json
        --pretrained WEIGHTS.safetensors --token-pool 4

An example of editing a recipe: everything is that of ``table7.py`` but the adapter's width, its
steps and its learning rate.

Known results: docs/results.md.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.methods.adapter import Adapter, settings
from adapter.network.config import AdapterConfig
from adapter.recipes.table7 import RECIPE as FULL

NARROW = AdapterConfig.released(width=256)
TRAIN = settings(steps=500, lr=5e-4, batch_size=32)
SMALLER = "500 steps at 5e-4 with batches of 32, 256 channels wide."

RECIPE = replace(
    FULL,
    name="utkface-sample",
    title="Age estimation: a sample of UTKFace",
    rows=tuple(
        replace(row, method=replace(row.method, model=NARROW, train=TRAIN), note=SMALLER)
        if isinstance(row.method, Adapter)
        else row
        for row in FULL.rows
    ),
    notes=("The printed rows were trained on about 13,000 faces, ours on a sample.",),
)

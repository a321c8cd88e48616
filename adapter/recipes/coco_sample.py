"""Counts on a small computer: the recipe of table 2 on a sample of COCO, with a narrow adapter.

    adapter reproduce coco-sample --data DIR --out DIR --model-config CONFIG.json
        --pretrained WEIGHTS.safetensors --token-pool 4

Data: DIR/coco_sample or DIR/coco, with instances_{train,val}2017.json of COCO 2017.

Known results: docs/results.md.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.methods.adapter import Adapter, settings
from adapter.network.config import AdapterConfig
from adapter.recipes.table2 import RECIPE as FULL
from adapter.recipes.tasks import COCO_REM, COCO_REM_CROWDS

NARROW = AdapterConfig.released(width=256)
TRAIN = settings(steps=300, lr=5e-4, batch_size=32)
SMALLER = "300 steps at 5e-4 with batches of 32, 256 channels wide."
FOLDERS = ("coco_sample", "coco", ".")

SAMPLE = replace(COCO_REM, title="COCO sample", dataset="coco", folders=FOLDERS)
IGNORED = replace(
    COCO_REM_CROWDS, title="COCO sample, crowds ignored", dataset="coco", folders=FOLDERS
)

RECIPE = replace(
    FULL,
    name="coco-sample",
    title="Counting objects: a sample of COCO",
    tasks=(SAMPLE, IGNORED),
    views=("original",),
    rows=tuple(
        replace(row, method=replace(row.method, model=NARROW, train=TRAIN), note=SMALLER)
        if isinstance(row.method, Adapter)
        else row
        for row in FULL.rows
    ),
    notes=(
        "The printed rows are on COCO-ReM's 5,000 test images, ours on a sample of COCO.",
        *FULL.notes,
    ),
)

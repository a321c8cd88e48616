"""The preset `best` beside ridge and `released`: photo quality and ages, one split, three seeds.

    adapter reproduce best-study --data DIR --out DIR --model-config CONFIG.json
        --pretrained WEIGHTS.safetensors --token-pool 4 --unaligned-text

Data: DIR/biq_sample (1,200 photos of BIQ2021 with opinion scores, as `labels.csv`) and
DIR/utkface_sample (2,401 faces of UTKFace, all ages). Splits are drawn anew, by number. The long
form, ``best-study-long``, shares these cells where it is given the same --out.

Known results: docs/results.md.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.methods.adapter import Adapter, settings
from adapter.methods.ridge import RidgeProbe
from adapter.network.config import AdapterConfig
from adapter.reproduction.recipe import Recipe, Resplit, Row, Task
from featcache.datasets.queries import AGE

RIDGE = RidgeProbe(average=True)
NARROW = AdapterConfig.released(width=128)
RELEASED = settings(steps=1200, lr=5e-4, batch_size=32)
BEST = replace(RELEASED, stack_parts=3)

QUALITY = Task(
    key="quality",
    title="Quality",
    dataset="table",
    folders=("biq_sample",),
    options={"table": "labels.csv"},
    folds=(0,),
    resplit=Resplit(test=400),
    task="quality",
    query="sort images by the image quality.",
    metrics=("srcc", "mae"),
    split="400 photos for the test, 800 to train, drawn by number",
)
AGES = Task(
    key="ages",
    title="Ages",
    dataset="utkface",
    folders=("utkface_sample",),
    options={"youngest": 0, "oldest": 116},
    folds=(0,),
    resplit=Resplit(test=480),
    task="age",
    query=AGE,
    metrics=("srcc", "mae"),
    split="480 faces for the test, 1,921 to train, drawn by number",
)

RECIPE = Recipe(
    name="best-study",
    title="The preset best",
    source="no paper; the study of the preset, docs/results.md",
    tasks=(QUALITY, AGES),
    rows=(
        Row(key="ridge-pooled", title="Ridge, pooled", method=replace(RIDGE, features="pooled")),
        Row(key="ridge-tokens", title="Ridge, tokens", method=replace(RIDGE, features="tokens")),
        Row(key="ridge", title="Ridge, both", method=RIDGE),
        Row(key="released", title="released", method=Adapter(model=NARROW, train=RELEASED)),
        Row(key="best", title="best", method=Adapter(model=NARROW, train=BEST)),
    ),
    reference="best",
    seeds=(0, 1, 2),
    notes=(
        "1,200 steps of 32 images at 5e-4, 128 channels wide.",
        "Ridge and best average their predictions over both views; released reads the first.",
    ),
)

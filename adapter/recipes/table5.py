"""Table 5: what each part of the adapter brings; HCI and counts.

    adapter reproduce table5 --data DIR --out DIR

Data: DIR/hci and DIR/coco-rem. Cells that Tables 1 and 2 have computed are shown, not computed.

Known results: none yet with the paper's backbone.
"""

from __future__ import annotations

from adapter.methods.clip_tuned import ClipTuned, counting_clip
from adapter.network.losses import LossConfig
from adapter.recipes.ablations import KEYS, TASKS, printed
from adapter.recipes.rows import adapter_row
from adapter.recipes.tasks import COCO_REM
from adapter.reproduction.recipe import Recipe, Row

RECIPE = Recipe(
    name="table5",
    title="Ablation of the adapter's parts",
    source="Table 5 of arXiv 2412.06760v3",
    tasks=TASKS,
    rows=(
        Row(
            key="clip-tuned",
            title="CLIP, fine-tuned",
            method=ClipTuned(steps=8000),
            methods={COCO_REM.key: counting_clip(steps=20_000)},
            printed=printed(1.113, 0.251, 0.422),
            note="A linear map on each side of a frozen CLIP; the original tunes both towers.",
        ),
        adapter_row(
            "regression-only",
            "Regression head only",
            printed(0.402, 0.612, 0.538),
            KEYS,
            loss=LossConfig.released(ranking="none"),
        ),
        adapter_row(
            "subtract",
            "+ ranking head, by subtraction",
            printed(0.355, 0.619, 0.536),
            KEYS,
            pair_head="subtract",
        ),
        adapter_row("adapter", "+ ranking-aware attention", printed(0.317, 0.624, 0.557), KEYS),
    ),
    reference="adapter",
)

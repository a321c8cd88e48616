"""Table 6: forms of the ranking-aware attention; HCI and counts.

    adapter reproduce table6 --data DIR --out DIR

Data: DIR/hci and DIR/coco-rem. The authors' variants are not released; docs/paper-to-code.md says
how each is read here. Self-attention over both images' tokens costs the square of the batch, so its
batch is 16.

Known results: none yet with the paper's backbone.
"""

from __future__ import annotations

from adapter.recipes.ablations import KEYS, TASKS, printed
from adapter.recipes.rows import FEWER_STEPS, adapter_row
from adapter.reproduction.recipe import Recipe

RECIPE = Recipe(
    name="table6",
    title="Forms of the ranking-aware attention",
    source="Table 6 of arXiv 2412.06760v3",
    tasks=TASKS,
    rows=(
        adapter_row("adapter", "O = A V - A V (ours)", printed(0.317, 0.624, 0.557), KEYS),
        adapter_row("product", "O = A V", printed(0.355, 0.602, 0.542), KEYS, pair_head="product"),
        adapter_row(
            "concat", "Concatenation", printed(0.347, 0.609, 0.540), KEYS, pair_head="concat"
        ),
        adapter_row(
            "self",
            "Self-attention",
            printed(0.339, 0.621, 0.545),
            KEYS,
            pair_head="self",
            batch_size=16,
            note=f"{FEWER_STEPS[:-1]}; batches of 16, which is what fits.",
        ),
    ),
    reference="adapter",
)

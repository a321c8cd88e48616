"""TMCR, Table 3: three regions of the score, from common to rare; AVA.

    adapter reproduce tmcr-table3 --data DIR --out DIR

Data: DIR/ava. The regions part the scale around the median of the training labels: a middle, a
ring and the tails, cut such that each holds the same number of training images. TMCR's own test
list has 513, 510 and 348 images, cut at about 3.85, 4.87, 5.88 and 6.90.

Known results: none yet.
"""

from __future__ import annotations

from dataclasses import replace

from adapter.recipes.tasks import AVA
from adapter.recipes.tmcr_table4 import ROWS
from adapter.reproduction.recipe import Recipe

RECIPE = Recipe(
    name="tmcr-table3",
    title="TMCR: common and rare scores, AVA",
    source="Table 3 of TMCR, ACM MM 2024",
    tasks=(replace(AVA, metrics=("mse_many", "mse_medium", "mse_few", "mse", "plcc", "srcc")),),
    rows=ROWS,
    reference="tmcr-frozen",
    notes=(
        "Many, medium, few: the third of the training labels around their median, then the others.",
        "The paper's numbers are not known here, so none is quoted.",
    ),
)

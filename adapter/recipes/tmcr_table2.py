"""TMCR, Table 2: two more data sets of aesthetics, AADB and PARA.

    adapter reproduce tmcr-table2 --data DIR --out DIR

Data: DIR/aadb and DIR/para. No number of this table is known here; TMCR's abstract speaks of three
benchmarks, and these are the two beside AVA that this project reads.

Known results: none yet.
"""

from __future__ import annotations

from adapter.methods.ridge import RidgeProbe
from adapter.methods.tmcr import Tmcr
from adapter.recipes.rows import adapter_row
from adapter.recipes.tasks import AADB, PARA
from adapter.recipes.tmcr_table1 import FROZEN
from adapter.reproduction.recipe import Recipe, Row

RECIPE = Recipe(
    name="tmcr-table2",
    title="TMCR: aesthetics, AADB and PARA",
    source="Table 2 of TMCR, ACM MM 2024",
    tasks=(AADB, PARA),
    rows=(
        Row(
            key="tmcr-frozen",
            title="TMCR on frozen features",
            method=Tmcr(finetune=True),
            note=FROZEN,
        ),
        Row(key="ridge", title="Ridge, both", method=RidgeProbe()),
        adapter_row("adapter", "Ranking-aware adapter", {}, (AADB.key, PARA.key)),
    ),
    reference="tmcr-frozen",
    notes=("The paper's numbers are not known here, so none is quoted.",),
)

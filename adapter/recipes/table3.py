"""Table 3: quality (KonIQ-10k) and aesthetics (AVA).

    adapter reproduce table3 --data DIR --out DIR

Data: DIR/koniq10k and DIR/ava. The paper prints PLCC and SRCC of the methods that it takes from
other papers in each other's columns: CLIP-IQA's paper has SRCC .695 and PLCC .727 on KonIQ, and so
on. They stand here as they were meant.

Known results: none yet with the paper's backbone.
"""

from __future__ import annotations

from adapter.methods.clip_iqa import ClipIqa, ClipIqaPlus
from adapter.methods.clip_tuned import ClipTuned
from adapter.methods.linear import LinearProbe
from adapter.methods.ridge import RidgeProbe
from adapter.recipes.rows import VISION_LANGUAGE, VISUAL, adapter_row, correlations, quoted
from adapter.recipes.tasks import AVA, KONIQ
from adapter.reproduction.recipe import Metric, Printed, Recipe, Row

KEYS = (KONIQ.key, AVA.key)
SWAPPED = (
    "PLCC and SRCC of MUSIQ, VILA-P, VILA-R, Hentschel et al. and, on KonIQ, CLIP-IQA and "
    "CLIP-IQA+ are swapped in the paper's table; they stand here as they were meant (of VILA-P and "
    "Hentschel et al.: likely)."
)
POOLED = (
    "On the embedding of this table's backbone; the original's has no positions (clip-iqa-table1)."
)


def meant(srcc: float, plcc: float) -> dict[Metric, Printed]:
    """Return numbers that the paper prints as (PLCC, SRCC) and that are (SRCC, PLCC)."""
    return correlations(plcc, srcc)


def pair(
    koniq: dict[Metric, Printed] | None, ava: dict[Metric, Printed]
) -> dict[str, dict[Metric, Printed]]:
    """Return the numbers of both data sets."""
    return {KONIQ.key: koniq or {}, AVA.key: ava}


RECIPE = Recipe(
    name="table3",
    title="Quality and aesthetics: KonIQ-10k and AVA",
    source="Table 3 of arXiv 2412.06760v3",
    tasks=(KONIQ, AVA),
    rows=(
        quoted("musiq", "MUSIQ", VISUAL, pair(meant(0.924, 0.937), meant(0.726, 0.738))),
        quoted("vila-p", "VILA-P", VISUAL, pair(None, meant(0.657, 0.663))),
        quoted("vila-r", "VILA-R", VISUAL, pair(meant(0.919, 0.932), meant(0.774, 0.774))),
        Row(
            key="clip-tuned",
            title="CLIP, fine-tuned",
            method=ClipTuned(steps=8000),
            printed=pair(correlations(0.245, 0.216), correlations(0.162, 0.160)),
            note="A linear map on each side of a frozen CLIP; the original tunes both towers.",
        ),
        quoted(
            "instructblip",
            "InstructBLIP",
            VISION_LANGUAGE,
            pair(correlations(0.211, 0.163), correlations(0.229, 0.226)),
        ),
        Row(
            key="clip-iqa",
            title="CLIP-IQA",
            method=ClipIqa(),
            printed=pair(meant(0.695, 0.727), correlations(0.420, 0.415)),
            note=POOLED,
        ),
        Row(
            key="clip-iqa-plus",
            title="CLIP-IQA+",
            method=ClipIqaPlus(),
            printed=pair(meant(0.895, 0.909), correlations(0.677, 0.587)),
            note=POOLED,
        ),
        quoted("hentschel", "Hentschel et al.", VISUAL, pair(None, meant(0.731, 0.741))),
        Row(key="ridge", title="Ridge, both", method=RidgeProbe()),
        Row(key="linear", title="Softmax, both", method=LinearProbe()),
        adapter_row(
            "adapter",
            "Ranking-aware adapter",
            pair(correlations(0.919, 0.911), correlations(0.760, 0.747)),
            KEYS,
        ),
    ),
    reference="adapter",
    notes=(SWAPPED,),
)

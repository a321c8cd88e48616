"""Table 4: aesthetics, contrast, color and brightness of AVA's photos, one model for all four.

    adapter reproduce table4 --data DIR --out DIR

Data: DIR/ava. Neither paper nor code defines the attributes; ours are measured on the pixels.

Known results: none yet with the paper's backbone.
"""

from __future__ import annotations

from adapter.methods.clip_iqa import ClipIqa, ClipIqaPlus
from adapter.methods.clip_tuned import ClipTuned
from adapter.methods.ridge import RidgeProbe
from adapter.recipes.rows import FEWER_STEPS, LONG, adapter, correlations
from adapter.recipes.tasks import AVA, AVA_BRIGHTNESS, AVA_COLOR, AVA_CONTRAST
from adapter.reproduction.recipe import Metric, Printed, Recipe, Row

TASKS = (AVA, AVA_CONTRAST, AVA_COLOR, AVA_BRIGHTNESS)


def printed(*pairs: tuple[float, float]) -> dict[str, dict[Metric, Printed]]:
    """Return (PLCC, SRCC) of all four."""
    return {task.key: correlations(*pair) for task, pair in zip(TASKS, pairs, strict=True)}


RECIPE = Recipe(
    name="table4",
    title="Image attributes: AVA",
    source="Table 4 of arXiv 2412.06760v3",
    tasks=TASKS,
    rows=(
        Row(
            key="clip-tuned",
            title="CLIP, fine-tuned",
            method=ClipTuned(steps=8000),
            printed=printed((0.162, 0.160), (-0.058, -0.071), (0.289, 0.308), (0.087, 0.061)),
            note="A linear map on each side of a frozen CLIP; the original tunes both towers.",
        ),
        Row(
            key="clip-iqa",
            title="CLIP-IQA",
            method=ClipIqa(),
            printed=printed((0.420, 0.415), (0.227, 0.210), (0.472, 0.486), (0.433, 0.442)),
        ),
        Row(
            key="clip-iqa-plus",
            title="CLIP-IQA+",
            method=ClipIqaPlus(),
            printed=printed((0.677, 0.687), (0.695, 0.712), (0.881, 0.895), (0.908, 0.919)),
        ),
        Row(key="ridge", title="Ridge, both", method=RidgeProbe()),
        Row(
            key="adapter",
            title="Ranking-aware adapter, one model",
            method=adapter(LONG),
            learns={task.key: 1.0 for task in TASKS},
            printed=printed((0.760, 0.747), (0.951, 0.946), (0.973, 0.966), (0.981, 0.979)),
            note=FEWER_STEPS,
        ),
    ),
    reference="adapter",
    notes=("CLIP-IQA+'s SRCC of aesthetics is .687 in this table and .587 in Table 3.",),
)

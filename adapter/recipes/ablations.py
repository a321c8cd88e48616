"""What the paper's ablations share (Tables 5 and 6): HCI by its error, counts by correlations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adapter.recipes.rows import correlations, error
from adapter.recipes.tasks import COCO_REM, HCI

if TYPE_CHECKING:
    from adapter.reproduction.recipe import Metric, Printed

TASKS = (replace(HCI, metrics=("mae",)), COCO_REM)
KEYS = (HCI.key, COCO_REM.key)


def printed(mae: float, plcc: float, srcc: float) -> dict[str, dict[Metric, Printed]]:
    """Return MAE of HCI, and PLCC and SRCC of counts."""
    return {HCI.key: error(mae), COCO_REM.key: correlations(plcc, srcc)}

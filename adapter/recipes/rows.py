"""What rows of several tables have in common: the adapter's training, and numbers as printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter.methods.adapter import Adapter, settings
from adapter.network.config import AdapterConfig
from adapter.network.losses import LossConfig
from adapter.reproduction.recipe import Metric, Printed, Row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.methods.method import Method
    from adapter.settings import TrainConfig

# The paper trains for 144,000 steps at 1e-5 with batches of 64 (220,000 for counts), which on
# HCI's 1,050 training images is 8,800 epochs. Eight thousand steps at ten times the rate are 490.
SHORT = settings(steps=8000, lr=1e-4)
LONG = settings(steps=20_000, lr=1e-4)  # for data sets of more than 100,000 images
LARGE = ("coco-rem", "coco-rem-no-crowds", "ava")

FEWER_STEPS = (
    "8,000 steps at 1e-4, and 20,000 for COCO-ReM, AVA and CLEVR, where the paper takes 144,000 "
    "and 220,000 at 1e-5."
)
VISION_LANGUAGE = "quoted: a general vision-language model, which this project does not run"
VISUAL = "quoted: a purely visual network with a backbone of its own"


def adapter(train: TrainConfig = SHORT, loss: LossConfig | None = None, **changes: Any) -> Adapter:
    """Return the adapter in the form of the released code, whatever the default preset is."""
    return Adapter(
        model=AdapterConfig.released(**changes), loss=loss or LossConfig.released(), train=train
    )


def adapter_row(
    key: str,
    title: str,
    printed: Mapping[str, Mapping[Metric, Printed]],
    tasks: tuple[str, ...],
    *,
    loss: LossConfig | None = None,
    batch_size: int = 64,
    note: str = FEWER_STEPS,
    **changes: Any,
) -> Row:
    """Return a row of the adapter: 8,000 steps, and 20,000 for the large ones among the tasks."""
    short = settings(steps=SHORT.steps, lr=SHORT.optim.lr, batch_size=batch_size)
    long = settings(steps=LONG.steps, lr=LONG.optim.lr, batch_size=batch_size)
    methods: dict[str, Method] = {
        key: adapter(long, loss, **changes) for key in tasks if key in LARGE
    }
    return Row(
        key=key,
        title=title,
        method=adapter(short, loss, **changes),
        methods=methods,
        printed=printed,
        note=note,
    )


def quoted(
    key: str, title: str, reason: str, printed: Mapping[str, Mapping[Metric, Printed]]
) -> Row:
    """Return a line that stands as the paper prints it."""
    return Row(key=key, title=title, reason=reason, printed=printed)


def correlations(plcc: float | None, srcc: float | None) -> dict[Metric, Printed]:
    """Return a printed pair of PLCC and SRCC."""
    found: dict[Metric, Printed] = {}
    if plcc is not None:
        found["plcc"] = Printed(mean=plcc)
    if srcc is not None:
        found["srcc"] = Printed(mean=srcc)
    return found


def error(mae: float, std: float | None = None) -> dict[Metric, Printed]:
    """Return a printed MAE."""
    return {"mae": Printed(mean=mae, std=std)}

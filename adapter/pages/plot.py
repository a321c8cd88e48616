"""Plots as inline SVG: points, lines and bars over one pair of axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from adapter.pages.render import render
from adapter.pages.scatter import place, ticks, value_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from numpy.typing import NDArray

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 52, WIDTH - 10, 10, HEIGHT - 40


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values that are drawn alike.

    Attributes:
        name: In the legend.
        x: float64 [n].
        y: float64 [n].
        form: ``points``, a ``line``, or ``bars`` of one width that stand on zero.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    form: Literal["points", "line", "bars"] = "points"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A series in pixels, as text."""

    name: str
    form: str
    number: int
    points: Sequence[tuple[str, str]]
    height: Sequence[str]
    width: str


def plot(
    series: Sequence[Series], *, x_label: str, y_label: str, from_zero: bool = False
) -> Markup:
    """Draw series over common axes.

    Args:
        series: What is drawn, in this order.
        x_label: Below the horizontal axis.
        y_label: Beside the vertical one.
        from_zero: Let the vertical axis begin at zero.
    """
    xs = np.concatenate([one.x for one in series])
    ys = np.concatenate([one.y for one in series])
    x_range = value_range(xs)
    y_range = value_range(np.append(ys, 0.0) if from_zero else ys)
    drawn = []
    for number, one in enumerate(series):
        x, y = place(one.x, x_range, LEFT, RIGHT), place(one.y, y_range, BOTTOM, TOP)
        base = float(place(np.zeros(1), y_range, BOTTOM, TOP)[0])
        gap = float(np.diff(x).min()) if len(x) > 1 else 8.0
        drawn.append(
            Drawn(
                name=one.name,
                form=one.form,
                number=number % 4,
                points=[(f"{a:.1f}", f"{b:.1f}") for a, b in zip(x, y, strict=True)],
                height=[f"{max(base - b, 0):.1f}" for b in y],
                width=f"{max(abs(gap) * 0.9, 1):.1f}",
            )
        )
    return render(
        "plot.svg.j2",
        series=drawn,
        x_label=x_label,
        y_label=y_label,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
        top=TOP,
        bottom=BOTTOM,
        x_ticks=ticks(x_range, LEFT, RIGHT),
        y_ticks=ticks(y_range, BOTTOM, TOP),
    )

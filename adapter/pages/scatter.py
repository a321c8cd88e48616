"""A scatter plot of predicted over true values, as inline SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adapter.pages.render import render

if TYPE_CHECKING:
    from markupsafe import Markup
    from numpy.typing import NDArray

SIZE = 260
LEFT, RIGHT, TOP, BOTTOM = 46, SIZE - 8, 8, SIZE - 38  # of the plot inside the picture


def scatter(
    true: NDArray[np.float64],
    predicted: NDArray[np.float64],
    *,
    label: str = "predicted",
    same_unit: bool = True,
) -> Markup:
    """Draw predicted [n] over true [n].

    Args:
        true: Labels.
        predicted: Scores.
        label: Name of the vertical axis.
        same_unit: Whether scores are in the labels' unit; then the diagonal is drawn, and both
            axes have the same range.
    """
    good = np.isfinite(true) & np.isfinite(predicted)
    true, predicted = true[good], predicted[good]
    x_range, y_range = value_range(true), value_range(predicted)
    if same_unit:
        x_range = y_range = (min(x_range[0], y_range[0]), max(x_range[1], y_range[1]))
    x = place(true, x_range, LEFT, RIGHT)
    y = place(predicted, y_range, BOTTOM, TOP)
    return render(
        "scatter.svg.j2",
        label=label,
        size=SIZE,
        left=LEFT,
        right=RIGHT,
        top=TOP,
        bottom=BOTTOM,
        points=[(f"{a:.1f}", f"{b:.1f}") for a, b in zip(x, y, strict=True)],
        opacity=f"{min(0.8, max(0.15, 60 / max(len(true), 1))):.2f}",
        diagonal=same_unit,
        x_ticks=ticks(x_range, LEFT, RIGHT),
        y_ticks=ticks(y_range, BOTTOM, TOP),
    )


def value_range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the range of an axis that shows all values, a little wider than they are."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = 0.04 * (high - low) or 0.5
    return low - pad, high + pad


def place(
    values: NDArray[np.float64], bounds: tuple[float, float], first: float, last: float
) -> NDArray[np.float64]:
    """Map values from their range to pixels between ``first`` and ``last``."""
    placed: NDArray[np.float64] = first + (values - bounds[0]) / (bounds[1] - bounds[0]) * (
        last - first
    )
    return placed


def ticks(bounds: tuple[float, float], first: float, last: float) -> list[tuple[str, str]]:
    """Return places and texts of round values: steps of 1, 2 or 5 times a power of ten."""
    span = bounds[1] - bounds[0]
    power = 10.0 ** np.floor(np.log10(span))
    step = next(power * f for f in (1, 0.5, 0.2, 0.1) if span / (power * f) >= 3)
    counts = np.arange(np.ceil(bounds[0] / step), np.floor(bounds[1] / step) + 1)
    values = step * counts + 0.0  # no negative zero
    places = place(values, bounds, first, last)
    return [(f"{at:.1f}", f"{value:.3g}") for at, value in zip(places, values, strict=True)]

"""A scatter plot of predicted over true values, as inline SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE, MARGIN = 260, 38


def scatter(
    true: NDArray[np.float64],
    predicted: NDArray[np.float64],
    *,
    label: str = "predicted",
    same_unit: bool = True,
) -> str:
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
    x_range, y_range = _range(true), _range(predicted)
    if same_unit:
        x_range = y_range = (min(x_range[0], y_range[0]), max(x_range[1], y_range[1]))
    x = _place(true, x_range, MARGIN, SIZE - 8)
    y = _place(predicted, y_range, SIZE - MARGIN, 8)
    opacity = min(0.8, max(0.15, 60 / max(len(true), 1)))
    points = "".join(
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.6"/>' for a, b in zip(x, y, strict=True)
    )
    diagonal = (
        f'<line x1="{MARGIN}" y1="{SIZE - MARGIN}" x2="{SIZE - 8}" y2="8" class="diagonal"/>'
        if same_unit
        else ""
    )
    ticks = "".join(
        [
            *(_tick_x(value, x_range) for value in _ticks(x_range)),
            *(_tick_y(value, y_range) for value in _ticks(y_range)),
        ]
    )
    middle = (SIZE + MARGIN) / 2
    return (
        f'<svg class="scatter" viewBox="0 0 {SIZE} {SIZE}" role="img" '
        f'aria-label="{label} over true values of {len(true)} images">'
        f'<path class="axis" d="M{MARGIN} 8V{SIZE - MARGIN}H{SIZE - 8}"/>{ticks}{diagonal}'
        f'<g class="points" fill-opacity="{opacity:.2f}">{points}</g>'
        f'<text x="{middle}" y="{SIZE - 6}" text-anchor="middle">true</text>'
        f'<text x="10" y="{middle - MARGIN}" text-anchor="middle" '
        f'transform="rotate(-90 10 {middle - MARGIN})">{label}</text></svg>'
    )


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = 0.04 * (high - low) or 0.5
    return low - pad, high + pad


def _place(
    values: NDArray[np.float64], bounds: tuple[float, float], first: float, last: float
) -> NDArray[np.float64]:
    placed: NDArray[np.float64] = first + (values - bounds[0]) / (bounds[1] - bounds[0]) * (
        last - first
    )
    return placed


def _ticks(bounds: tuple[float, float]) -> list[float]:
    """Round values inside a range: steps of 1, 2 or 5 times a power of ten, three or more."""
    span = bounds[1] - bounds[0]
    power = 10.0 ** np.floor(np.log10(span))
    step = next(power * f for f in (1, 0.5, 0.2, 0.1) if span / (power * f) >= 3)
    first = np.ceil(bounds[0] / step)
    return [float(step * n) + 0.0 for n in np.arange(first, np.floor(bounds[1] / step) + 1)]


def _tick_x(value: float, bounds: tuple[float, float]) -> str:
    at = float(_place(np.array([value]), bounds, MARGIN, SIZE - 8)[0])
    return f'<text x="{at:.1f}" y="{SIZE - MARGIN + 14}" text-anchor="middle">{value:.3g}</text>'


def _tick_y(value: float, bounds: tuple[float, float]) -> str:
    at = float(_place(np.array([value]), bounds, SIZE - MARGIN, 8)[0])
    return f'<text x="{MARGIN - 5}" y="{at + 3:.1f}" text-anchor="end">{value:.3g}</text>'

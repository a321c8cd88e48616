"""How often scores agree with answers that were not learned from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter.data.comparisons import Comparisons

Z = 1.959963984540054  # of a normal distribution, 95 % in the middle


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A share of answers, and how sure it is.

    Attributes:
        count: Answers that took a side; equal ones say nothing about an order.
        agreed: How many of them the scores agree with; equal scores agree by half.
        low: Lower end of the interval of Wilson (1927) at 95 %.
        high: Its upper end.
    """

    count: int
    agreed: float
    low: float
    high: float

    @property
    def share(self) -> float | None:
        """The share of the answers; None where there is none."""
        return self.agreed / self.count if self.count else None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "share": self.share}


def agreement(scores: NDArray[np.float64], answers: Comparisons) -> Agreement:
    """Compare the order of scores with answers.

    Args:
        scores: float64 [N], of all images of a cache.
        answers: What was answered about them.
    """
    sided = answers.take(answers.shares != 0.5)
    difference = scores[sided.left] - scores[sided.right]
    better = np.where(difference == 0, 0.5, (difference > 0) == (sided.shares == 1))
    return wilson(float(better.sum()), len(sided))


def wilson(agreed: float, count: int) -> Agreement:
    """Return the share agreed / count with its interval; from nothing, 0 to 1."""
    if not count:
        return Agreement(count=0, agreed=0.0, low=0.0, high=1.0)
    share, width = agreed / count, Z * Z / count
    middle = (share + width / 2) / (1 + width)
    half = Z / (1 + width) * np.sqrt(share * (1 - share) / count + width / (4 * count))
    return Agreement(
        count=count,
        agreed=agreed,
        low=float(max(middle - half, 0.0)),
        high=float(min(middle + half, 1.0)),
    )

"""How far a run is ahead of the best ridge regression, and whether that is more than noise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.evaluation.paired import PairedCorrelation, compare_correlations
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from adapter.evaluation.metrics import Metrics
    from adapter.pages.page import QueryReport


@dataclass(frozen=True, kw_only=True)
class Margin:
    """A difference of two methods' mean SRCC.

    Attributes:
        method: The run's better way of ranking.
        other: The best of the others.
        difference: Mean SRCC of the method less that of the other.
        low: Lower end of the 95 % interval: a paired bootstrap over the images of the test.
        high: Its upper end.
        ahead: Queries in which the method has the larger SRCC.
        queries: All queries.
    """

    method: str
    other: str
    difference: float
    low: float
    high: float
    ahead: int
    queries: int

    def __str__(self) -> str:
        """Say it in a sentence."""
        side = "ahead of" if self.difference >= 0 else "behind"
        noise = " This difference is within noise." if self.low <= 0 <= self.high else ""
        return (
            f"“{self.method}” is {abs(self.difference):.3f} {side} “{self.other}” (95 % interval "
            f"{_signed(self.low)} to {_signed(self.high)}, paired over images), and ahead in "
            f"{self.ahead} of {quantity(self.queries, 'query', 'queries')}.{noise}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def margin(
    queries: Sequence[QueryReport],
    means: Mapping[str, Metrics],
    methods: Iterable[str],
    others: Iterable[str],
) -> Margin | None:
    """Compare the best of some methods with the best of others, on the same images.

    Args:
        queries: With the predictions of all methods.
        means: Each method's mean metrics over these queries.
        methods: Names of the run's ways of ranking.
        others: Names of the others.

    Returns:
        The margin; None where one side is missing.
    """
    mine, theirs = (
        max((n for n in names if n in means), key=lambda n: means[n].srcc, default=None)
        for names in (methods, others)
    )
    if mine is None or theirs is None or not queries:
        return None
    places: dict[tuple[int, str], int] = {}
    pairs, ahead = [], 0
    for query in queries:
        images = [places.setdefault((query.folder, path), len(places)) for path in query.paths]
        a, b = query.predictions[mine], query.predictions[theirs]
        ahead += query.metrics[mine].srcc > query.metrics[theirs].srcc
        if pair := PairedCorrelation.of(np.array(images), query.values, a, b, ranked=True):
            pairs.append(pair)
    difference = means[mine].srcc - means[theirs].srcc
    if not pairs or not np.isfinite(difference):
        return None
    found = compare_correlations([pairs], difference)
    return Margin(
        method=mine,
        other=theirs,
        difference=difference,
        low=found.low,
        high=found.high,
        ahead=ahead,
        queries=len(queries),
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")

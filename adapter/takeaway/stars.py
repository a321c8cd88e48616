"""Star ratings by percentiles: 5:95,4:85,3:60 gives five stars to the best five in a hundred."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOWEST, HIGHEST = -1, 5  # of XMP's Rating; -1 is rejected


@dataclass(frozen=True)
class StarRule:
    """Which rating from which percentile on.

    Attributes:
        steps: (rating, percentile 0 ... 100), both falling.
    """

    steps: tuple[tuple[int, float], ...]

    @classmethod
    def parse(cls, text: str) -> StarRule:
        """Read ``5:95,4:85,3:60``.

        Raises:
            ConfigError: It is no such list, or more stars would ask for less.
        """
        steps = []
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            rating, _, percentile = part.partition(":")
            try:
                steps.append((int(rating), float(percentile)))
            except ValueError as error:
                raise ConfigError(
                    f"stars {part!r}: expected RATING:PERCENTILE, such as 5:95"
                ) from error
        for stars, least in steps:
            if not LOWEST <= stars <= HIGHEST:
                raise ConfigError(f"stars {stars}: ratings go from {LOWEST} to {HIGHEST}")
            if not 0 <= least <= 100:
                raise ConfigError(f"stars {stars}:{least:g}: percentiles go from 0 to 100")
        steps.sort(reverse=True)
        for (more, high), (less, low) in itertools.pairwise(steps):
            if more == less or high <= low:
                raise ConfigError(
                    f"stars {more}:{high:g} and {less}:{low:g}: more stars need a higher percentile"
                )
        if not steps:
            raise ConfigError("no stars; expected a list such as 5:95,4:85,3:60")
        return cls(tuple(steps))

    def ratings(self, percentiles: NDArray[np.float64]) -> list[int | None]:
        """Return ratings of images with percentiles [n] in 0 ... 1; None below every step."""
        found: list[int | None] = []
        for value in (100 * percentiles).tolist():
            # Percentiles come from divisions; 95.00000000000001 and 95 are the same here.
            fitting = (rating for rating, step in self.steps if value >= step - 1e-9)
            found.append(next(fitting, None))
        return found

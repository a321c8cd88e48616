"""Several wishes at once: scores of several queries, each with a weight, in one order.

A weight is in -1 ... 1; a negative one asks for the opposite. Two forms:

- ``percentile``: the weighted mean of each wish's percentile, so that a wish counts by its order
  alone, whatever its unit;
- ``product``: scores scaled to 0 ... 1 and multiplied, each raised to its weight, as the paper's
  Appendix E combines queries. A photo that fails one wish fails altogether.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy.stats import rankdata

from adapter.errors import ConfigError
from adapter.evaluation.ranking import Ranking, order_by
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from featcache.reading.cache import Cache

    Array = NDArray[np.float64]

Form = Literal["percentile", "product"]
FORMS: tuple[Form, ...] = get_args(Form)
LEAST = 1e-3  # of a scaled score, so that the last photo of a wish is not at zero for good


@dataclass(frozen=True, kw_only=True)
class Combined:
    """The order of several wishes.

    Attributes:
        scores: float64 [N], 0 ... 1; higher means nearer to the wishes.
        shares: float64 [K, N], what each wish adds to the score (``percentile``) or to its
            logarithm (``product``); they sum to it.
    """

    scores: Array
    shares: Array


def percentiles(scores: Array) -> Array:
    """Return the share of images at or below each score, ties at their middle: [N] in 0 ... 1.

    The lowest of N has 0 and the highest 1; a single image has 1.
    """
    if len(scores) < 2:
        return np.ones(len(scores))
    found: Array = (rankdata(scores) - 1) / (len(scores) - 1)
    return found


def scaled(scores: Array) -> Array:
    """Scale scores [N] linearly to 0.001 ... 1; equal ones to 1."""
    low, spread = float(scores.min()), float(np.ptp(scores))
    if not spread:
        return np.ones(len(scores))
    found: Array = LEAST + (1 - LEAST) * (scores - low) / spread
    return found


def prepare(scores: Sequence[Array], form: Form = "percentile") -> Array:
    """Bring the scores of K wishes to a common unit, once: float64 [K, N]; see :func:`combine`.

    Raises:
        ConfigError: The form is unknown, or there is no wish.
    """
    if form not in FORMS:
        raise ConfigError(f"wishes are combined by one of {', '.join(FORMS)}, not {form!r}")
    if not scores:
        raise ConfigError("give at least one wish")
    return np.stack([percentiles(s) if form == "percentile" else scaled(s) for s in scores])


def combine(prepared: Array, weights: Sequence[float], form: Form = "percentile") -> Combined:
    """Weigh wishes.

    Args:
        prepared: float64 [K, N], of :func:`prepare` with the same form.
        weights: K numbers in -1 ... 1, not all zero.
        form: How.

    Raises:
        ConfigError: There are not K weights, or one is outside, or all are zero.
    """
    require_weights(weights, len(prepared))
    w = np.asarray(weights, np.float64)[:, None]  # [K, 1]
    total = float(np.abs(w).sum())
    if form == "percentile":
        shares = np.abs(w) * np.where(w < 0, 1 - prepared, prepared) / total  # [K, N]
        return Combined(scores=shares.sum(axis=0), shares=shares)
    opposite = 1 + LEAST - prepared  # 1 ... 0.001 as the score grows
    shares = np.abs(w) * np.log(np.where(w < 0, opposite, prepared)) / total
    return Combined(scores=np.exp(shares.sum(axis=0)), shares=shares)


def require_weights(weights: Sequence[float], count: int) -> None:
    """Refuse weights that cannot weigh ``count`` wishes; raises ConfigError."""
    if len(weights) != count:
        raise ConfigError(
            f"{quantity(len(weights), 'weight')} for {quantity(count, 'wish', 'wishes')}; give "
            "one for each"
        )
    if not all(-1 <= weight <= 1 for weight in weights):
        raise ConfigError(f"weights are numbers from -1 to 1, not {list(weights)}")
    if not any(weights):
        raise ConfigError("all weights are zero, so there is no order")


def combine_rankings(
    cache: Cache, rankings: Sequence[Ranking], weights: Sequence[float], form: Form = "percentile"
) -> tuple[Ranking, Array]:
    """Put the images of a cache in the order of several rankings of it.

    Returns:
        The ranking, its scores those of :func:`combine`; and the shares float64 [K, n] of each
        wish, in its order.

    Raises:
        ConfigError: As :func:`prepare` and :func:`combine`.
    """
    prepared = prepare([ranking.by_row for ranking in rankings], form)
    combined = combine(prepared, weights, form)
    title = " + ".join(
        f"{weight:g} x {ranking.query}" for weight, ranking in zip(weights, rankings, strict=True)
    )
    ranking = order_by(cache, title, combined.scores)
    return ranking, combined.shares[:, ranking.rows]

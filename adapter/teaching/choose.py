"""Which two photos to ask about next.

Most pairs are those whose answer would tell most about the order of all photos
(:meth:`LinearTaste.information`): the present model is not sure, and the photos are like many
others, but unlike those of the answers so far. One in ``RANDOM_EVERY``
is drawn at random, and only those measure how often the model is right: pairs that were chosen
because the model is not sure would make it look worse than it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from adapter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from adapter.teaching.linear import LinearTaste

RANDOM_EVERY = 4
CANDIDATES = 400
SEEN = 1000  # photos whose order counts, drawn where there are more

Drawn = Literal["random", "active"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Two photos to compare.

    Attributes:
        left: Row of the left one.
        right: Row of the right one.
        drawn: Why these two.
    """

    left: int
    right: int
    drawn: Drawn


def next_pair(
    features: NDArray[np.float64],
    taste: LinearTaste,
    asked: Collection[tuple[int, int]],
    rows: NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
) -> Question:
    """Choose a pair as a function of (seed, number of pairs asked).

    Args:
        features: float64 [N, D], of all images.
        taste: The present model.
        asked: Pairs of rows that need not come again, in either order.
        rows: Images to choose from; all when left out.
        seed: Another one asks other pairs.

    Raises:
        ConfigError: There are not two photos, or every pair was asked.
    """
    rows = np.arange(len(features)) if rows is None else rows
    if len(rows) < 2:
        raise ConfigError("two photos are needed to compare")
    known = {frozenset(pair) for pair in asked}
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, len(asked)], np.uint64)))
    pairs = _unasked(rows, known, generator)
    if len(asked) % RANDOM_EVERY == 0:
        left, right = pairs[0]
        return Question(left=int(left), right=int(right), drawn="random")
    seen = rows if len(rows) <= SEEN else generator.choice(rows, SEEN, replace=False)
    differences = features[pairs[:, 0]] - features[pairs[:, 1]]
    information = taste.information(differences, features[seen])
    left, right = pairs[int(information.argmax())]
    return Question(left=int(left), right=int(right), drawn="active")


def _unasked(
    rows: NDArray[np.int64], known: set[frozenset[int]], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Draw pairs [k, 2] that were not asked; where few are left, look at all of them."""
    drawn = generator.integers(0, len(rows), (2 * CANDIDATES, 2))
    pairs = rows[drawn[drawn[:, 0] != drawn[:, 1]]]
    fresh = [pair for pair in pairs.tolist() if frozenset(pair) not in known][:CANDIDATES]
    if not fresh and len(rows) * (len(rows) - 1) // 2 <= 4 * CANDIDATES + len(known):
        every = [(int(a), int(b)) for i, a in enumerate(rows) for b in rows[:i]]
        fresh = [list(pair) for pair in every if frozenset(pair) not in known]
        generator.shuffle(fresh)
    if not fresh:
        raise ConfigError("every pair of these photos was asked")
    return np.array(fresh, np.int64)

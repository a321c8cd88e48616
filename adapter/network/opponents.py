"""Ranking by comparison without meeting everybody.

All pairs of 20,000 images are 200 million passes of the pair network each way. Here every image
meets K others, in rounds; a few of them twice. First come others drawn by chance, which place it
roughly, then those that stand beside it in the order so far, which decide between neighbors. A
round cuts an order into stretches of K / `ROUNDS` images, whose members all meet, and each stretch
takes in the first image of the next one: so from the first round on, everyone is compared with
everyone through others.

Strengths are those that maximize the likelihood of Bradley and Terry (1952) over the pairs that
have met, as ``comparison.bradley_terry`` does over all of them. Memory and time grow with N K.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from adapter.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from adapter.network.model import RankingAdapter
    from adapter.network.ranking import PairSummary

ROUNDS = 4  # half of them by chance, half with neighbors


def rank_by_opponents(
    adapter: RankingAdapter, summary: PairSummary, opponents: int, *, seed: int = 0
) -> torch.Tensor:
    """Rank images by comparing each with some others; the same seed gives the same strengths.

    Args:
        adapter: Supplies the pair logits.
        summary: Of the N images to rank, under one prompt; more of them than ``opponents`` + 1.
        opponents: How many others each image meets, at least.
        seed: Of the rounds by chance.

    Returns:
        Strengths [N] float64; higher means more. Only their differences mean anything.

    Raises:
        ConfigError: Fewer than `ROUNDS` opponents.
    """
    import torch

    check_opponents(opponents)
    n = len(summary)
    generator = np.random.Generator(np.random.Philox(key=seed))
    strengths = np.zeros(n)
    met = []
    for number in range(ROUNDS):
        by_chance = number < ROUNDS // 2
        order = generator.permutation(n) if by_chance else np.argsort(strengths, kind="stable")
        # Neighbors are cut elsewhere each time, or those at a cut would never meet.
        order = np.roll(order, number * opponents // (2 * ROUNDS))
        met += [_meet(adapter, summary, group) for group in stretches(order, opponents // ROUNDS)]
        pairs, above = (np.concatenate(part, axis=-1) for part in zip(*met, strict=True))
        # As over all pairs: a share of a draw, or who always wins would have no finite strength.
        strengths = fit_strengths(pairs, (1 - 1 / n) * above + 0.5 / n, strengths)
    return torch.from_numpy(strengths).to(summary.pooled.device)


def check_opponents(count: int) -> None:
    """Raise ConfigError for fewer opponents than there are rounds."""
    if count < ROUNDS:
        raise ConfigError(f"opponents must be at least {ROUNDS}, not {count}")


def stretches(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Cut a ring of images into stretches of ``size`` or more, each with the next one's first."""
    parts = np.array_split(order, max(1, len(order) // size))
    firsts = [part[0] for part in parts]
    return [np.append(part, first) for part, first in zip(parts, np.roll(firsts, -1), strict=True)]


def fit_strengths(
    pairs: NDArray[np.int64], above: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit strengths u with sigmoid(u_i - u_j) closest to given probabilities in cross-entropy.

    Args:
        pairs: int64 [2, E], the images i and j of each pair; all connected through others.
        above: float64 [E], in (0, 1), the probability that i stands above j.
        start: float64 [N], where the search starts.

    Returns:
        float64 [N], with mean zero.
    """
    first, second = pairs
    n = len(start)

    def scatter(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum what pairs say, [E], over images, [N]: for the first of a pair, against the other."""
        return np.subtract(
            np.bincount(first, values, n), np.bincount(second, values, n), dtype=np.float64
        )

    def loss(u: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        difference = u[first] - u[second]
        value = np.logaddexp(0, difference).sum() - above @ difference
        return float(value), scatter(expit(difference) - above)

    def curvature(u: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        p = expit(u[first] - u[second])
        return scatter(p * (1 - p) * (x[first] - x[second]))

    found = minimize(loss, start, jac=True, hessp=curvature, method="Newton-CG")
    strengths: NDArray[np.float64] = found.x - found.x.mean()
    return strengths


def _meet(
    adapter: RankingAdapter, summary: PairSummary, group: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Compare all pairs of a group: images [2, E], and who stands above [E]."""
    import torch

    with torch.no_grad():
        images = summary[torch.from_numpy(group).to(summary.pooled.device)]
        logits = adapter.compare_summaries(images, images).double()  # [g, g]
        above = torch.sigmoid((logits - logits.T) / 2).cpu().numpy()
    upper = np.triu_indices(len(group), 1)
    return group[np.stack(upper)], above[upper]

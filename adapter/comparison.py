"""Ranking images by comparison: from pair logits to one strength per image.

Pair logits of the released form are not antisymmetric (the pair MLP breaks that), so both
directions count: d_ij = (o_ij - o_ji) / 2, and an image does not meet itself. Two ways from there:

- ``borda``: the mean probability of standing above another image, sigmoid(d_ij) over all j.
- ``bradley-terry``: strengths u with sigmoid(u_i - u_j) closest to sigmoid(d_ij) in
  cross-entropy, the maximum-likelihood fit of Bradley and Terry (1952) to those probabilities;
  found by majorisation (Hunter 2004), which never lowers the likelihood.

Pairs are computed in blocks and dropped. Memory is the N summaries, a few vectors of N, and one
block; Bradley-Terry meets the pairs once, for their row sums, because the fit depends on nothing
else about them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from adapter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from adapter.model import RankingAdapter
    from adapter.ranking import PairSummary

Method = Literal["bradley-terry", "borda"]


def rank_by_comparison(
    adapter: RankingAdapter,
    summary: PairSummary,
    *,
    method: Method = "bradley-terry",
    block: int = 64,
) -> Tensor:
    """Rank images by comparing each with all others.

    Args:
        adapter: Supplies the pair logits.
        summary: Of the N images to rank, under one prompt; see ``RankingAdapter.summarise``.
        method: How pair logits become strengths.
        block: Images per side of a block; memory of a step is a few times block² x d' numbers.

    Returns:
        Strengths [N] float64; higher means more. Only their differences mean anything.

    Raises:
        ConfigError: An unknown method, or a block below 1.
    """
    if method not in get_args(Method):
        raise ConfigError(f"method must be one of {', '.join(get_args(Method))}, not {method!r}")
    wins = mean_wins(adapter, summary, block=block)
    return wins if method == "borda" else bradley_terry(wins, block=max(block, 1024))


def mean_wins(adapter: RankingAdapter, summary: PairSummary, *, block: int = 64) -> Tensor:
    """Mean probability of each image to stand above another one: [N] float64 in [0, 1].

    A single image, which meets nobody, gets 1/2.
    """
    import torch

    if block < 1:
        raise ConfigError(f"block must be at least 1, not {block}")
    n = len(summary)
    wins = summary.pooled.new_zeros(n, dtype=torch.float64)
    with torch.no_grad():
        for rows, columns in _blocks(n, block):
            a, b = summary[rows], summary[columns]
            forward = adapter.compare_summaries(a, b).double()
            backward = adapter.compare_summaries(b, a).double().T
            above = torch.sigmoid((forward - backward) / 2)  # [n_rows, n_columns]
            wins[rows] += above.sum(1)
            if rows != columns:
                wins[columns] += (1 - above).sum(0)
        # On the diagonal d_ii = 0, and sigmoid(0) is exactly one half.
        return (wins - 0.5) / (n - 1) if n > 1 else wins


def bradley_terry(
    wins: Tensor, *, tolerance: float = 1e-8, steps: int = 1000, block: int = 1024
) -> Tensor:
    """Fit strengths whose expected mean wins equal the given ones.

    With every pair met equally often, the likelihood depends on the pairs only through each
    image's wins. An image that always or never wins has no finite strength, so that wins are
    kept half a comparison away from both ends.

    Args:
        wins: Mean wins [N] float64, each in [0, 1], 1/2 on average.
        tolerance: Stop when expected and given mean wins differ by no more than this.
        steps: Stop after so many steps at the latest.
        block: Rows of pairs held at a time.

    Returns:
        Strengths [N] float64 with mean zero, in the order of the wins.
    """
    import torch

    n = len(wins)
    if n < 2:
        return torch.zeros_like(wins)
    least = 0.5 / n
    total = (wins.clamp(least, 1 - least)) * (n - 1)
    total = total * (n * (n - 1) / 2 / total.sum())  # every pair has one win to share
    strength = torch.logit(total / (n - 1))
    for _ in range(steps):
        expected, slope = torch.zeros_like(total), torch.zeros_like(total)
        for start in range(0, n, block):
            p = torch.sigmoid(strength[start : start + block, None] - strength[None])  # [b, N]
            expected[start : start + block] = p.sum(1) - 0.5
            slope[start : start + block] = (p * (1 - p)).sum(1) - 0.25
        error = total - expected
        if float(error.abs().max()) <= tolerance * (n - 1):
            break
        strength = strength + error / (2 * slope)
        strength = strength - strength.mean()
    return strength - strength.mean()


def _blocks(n: int, block: int) -> Iterable[tuple[slice, slice]]:
    """Blocks of the upper triangle, with the diagonal."""
    for i in range(0, n, block):
        for j in range(i, n, block):
            yield slice(i, min(i + block, n)), slice(j, min(j + block, n))

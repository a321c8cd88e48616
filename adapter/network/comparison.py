"""Ranking images by comparison: from pair logits to one strength per image.

Pair logits of the released form are not antisymmetric (the pair MLP breaks that), so both
directions count: d_ij = (o_ij - o_ji) / 2, and an image does not meet itself. Two ways from there:

- ``borda``: the mean probability of standing above another image, sigmoid(d_ij) over all j.
- ``bradley-terry``: strengths u with sigmoid(u_i - u_j) closest to sigmoid(d_ij) in
  cross-entropy, the maximum-likelihood fit of Bradley and Terry (1952) to those probabilities.

Over all pairs the two give the same order: the fit depends on each image's wins alone, and grows
with them. They differ in their scale, so in PLCC: wins saturate, strengths do not.

Pairs are computed in blocks and dropped, so memory is the N summaries, a few vectors of N, and
one block; the pair network meets each pair once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from adapter.errors import ConfigError
from adapter.network.opponents import check_opponents, rank_by_opponents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from adapter.network.model import RankingAdapter
    from adapter.network.ranking import PairSummary

Method = Literal["bradley-terry", "borda"]
METHODS: tuple[Method, ...] = get_args(Method)
Opponents = int | Literal["all"] | None
FEW, SOME = 5_000, 64  # all pairs of more images take hours


def rank_by_comparison(
    adapter: RankingAdapter,
    summary: PairSummary,
    *,
    method: Method = "bradley-terry",
    opponents: Opponents = None,
    block: int = 64,
) -> Tensor:
    """Rank images by comparing each with all others, or with some.

    Args:
        adapter: Supplies the pair logits.
        summary: Of the N images to rank, under one prompt; see ``RankingAdapter.summarize``.
        method: How pair logits become strengths.
        opponents: How many others each image meets, see `opponents_of`.
        block: Images per side of a block; memory of a step is a few times block² x d' numbers.

    Returns:
        Strengths [N] float64; higher means more. Only their differences mean anything.

    Raises:
        ConfigError: An unknown method, or one that needs all pairs; a block below 1.
    """
    if method not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    some = opponents_of(len(summary), opponents, method)
    if some is not None:
        return rank_by_opponents(adapter, summary, some)
    wins = mean_wins(adapter, summary, block=block)
    return wins if method == "borda" else bradley_terry(wins, block=max(block, 1024))


def opponents_of(images: int, asked: Opponents, method: Method = "bradley-terry") -> int | None:
    """Return how many others each image meets; None for all.

    Args:
        images: How many there are.
        asked: A number, ``all``, or None: all of up to `FEW` images, and `SOME` of more.
        method: ``borda`` counts the wins over all others.

    Raises:
        ConfigError: The number is impossible, or goes with another method only.
    """
    if asked is None:
        return SOME if images > FEW and method != "borda" else None
    if asked == "all":
        return None
    if method == "borda":
        raise ConfigError("borda counts the wins over all others: leave out opponents")
    check_opponents(asked)
    return asked if images > asked + 1 else None


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
            a = summary[rows]
            if rows == columns:
                forward = adapter.compare_summaries(a, a)
                backward = forward.T
            else:
                forward, backward = adapter.compare_both_ways(a, summary[columns])
            above = torch.sigmoid((forward.double() - backward.double()) / 2)  # [n_rows, n_columns]
            wins[rows] += above.sum(1)
            if rows != columns:
                wins[columns] += (1 - above).sum(0)
        # On the diagonal d_ii = 0, and sigmoid(0) is exactly one half.
        return (wins - 0.5) / (n - 1) if n > 1 else wins


def bradley_terry(wins: Tensor, *, tolerance: float = 1e-3, block: int = 1024) -> Tensor:
    """Fit strengths whose expected wins equal the given ones.

    Every pair meets equally often, so the likelihood depends on the pairs only through each
    image's wins, and strengths are in the order of the wins. A group of images that always beats
    the others has no finite strength; therefore every pair first gets a 1/N share of a draw,
    which keeps the order.

    The likelihood is concave. Newton steps, shortened where they are long, find its maximum; each
    solves a system in the graph Laplacian of p (1 - p) by conjugate gradients, without storing it.

    Args:
        wins: Mean wins [N] float64, each in [0, 1], 1/2 on average.
        tolerance: Stop when no image's expected wins, out of N - 1, differ by more than this.
        block: Rows of pairs held at a time.

    Returns:
        Strengths [N] float64 with mean zero.

    Raises:
        ConfigError: The wins are not those of a round robin, so that no strengths fit.
    """
    import torch

    n = len(wins)
    if n < 2:
        return torch.zeros_like(wins)
    if not abs(float(wins.mean()) - 0.5) < 1e-6 or bool(((wins < 0) | (wins > 1)).any()):
        raise ConfigError("mean wins must lie in [0, 1] and be one half on average")
    mean = (1 - 1 / n) * wins + 0.5 / n
    strength = torch.logit(mean)
    for _ in range(100):
        error = mean * (n - 1) - _row_sums(strength, block, torch.sigmoid)
        if float(error.abs().max()) <= tolerance:
            break
        step = _solve_laplacian(strength, error, block)
        strength = strength + step / max(1.0, float(step.abs().max()))
    return strength - strength.mean()


def _row_sums(
    strength: Tensor, block: int, function: Callable[[Tensor], Tensor], x: Tensor | None = None
) -> Tensor:
    """Sum function(u_i - u_j) over all j other than i, times x_j where given: [N]."""
    import torch

    sums = torch.empty_like(strength)
    for start in range(0, len(strength), block):
        rows = strength[start : start + block]
        values = function(rows[:, None] - strength[None])  # [block, N]
        values.diagonal(start).zero_()
        sums[start : start + block] = values.sum(1) if x is None else values @ x
    return sums


def _curvature(difference: Tensor) -> Tensor:
    """Derivative of the sigmoid, p (1 - p)."""
    p = difference.sigmoid()
    return p * (1 - p)


def _solve_laplacian(strength: Tensor, right: Tensor, block: int) -> Tensor:
    """Solve L x = right, L = diag(w 1) - w for w = p (1 - p), by conjugate gradients.

    L maps constants to zero and ``right`` sums to zero, so that x is defined up to a constant;
    the one with mean zero is returned. A relative residual of a tenth is enough for Newton.
    """
    import torch

    degree = _row_sums(strength, block, _curvature)
    x = torch.zeros_like(right)
    residual = right - right.mean()
    goal = 0.1 * float(residual.norm())
    direction = residual / degree
    product = float(residual @ direction)
    for _ in range(len(right)):
        image = degree * direction - _row_sums(strength, block, _curvature, direction)
        length = product / float(direction @ image)
        x = x + length * direction
        residual = residual - length * image
        if float(residual.norm()) <= goal:
            break
        scaled = residual / degree
        previous, product = product, float(residual @ scaled)
        direction = scaled + product / previous * direction
    return x - x.mean()


def _blocks(n: int, block: int) -> Iterable[tuple[slice, slice]]:
    """Blocks of the upper triangle, with the diagonal."""
    for i in range(0, n, block):
        for j in range(i, n, block):
            yield slice(i, min(i + block, n)), slice(j, min(j + block, n))

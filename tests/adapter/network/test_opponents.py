"""Ranking by comparison with some others only."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import spearmanr

from adapter.errors import ConfigError
from adapter.network.comparison import FEW, SOME, opponents_of, rank_by_comparison
from adapter.network.opponents import fit_strengths, rank_by_opponents, stretches
from adapter.network.ranking import PairSummary

N = 300


class Judge:
    """Pair logits of images whose summary is their number: differences of strengths, with noise.

    As those of an adapter, they are not antisymmetric, and do not follow one strength per image.
    """

    def __init__(self, noise: float) -> None:
        generator = torch.Generator().manual_seed(0)
        self.strengths = 2 * torch.randn(N, generator=generator)
        self.noise = noise * torch.randn(N, N, generator=generator) + 0.5
        self.met = torch.zeros(N, N, dtype=torch.int64)

    def compare_summaries(self, a: PairSummary, b: PairSummary) -> torch.Tensor:
        i, j = (x.pooled.flatten().long() for x in (a, b))
        self.met[i[:, None], j[None]] += 1
        return self.strengths[i][:, None] - self.strengths[j][None] + self.noise[i][:, j]

    def compare_both_ways(
        self, a: PairSummary, b: PairSummary
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.compare_summaries(a, b), self.compare_summaries(b, a).T


@pytest.fixture
def images() -> PairSummary:
    return PairSummary(torch.arange(N).float()[:, None, None, None])


def agreement(one: Any, other: Any) -> float:
    return float(spearmanr(one, other).statistic)


def test_strengths_that_fit_are_found_from_few_pairs(images: PairSummary) -> None:
    judge: Any = Judge(noise=0)
    found = rank_by_comparison(judge, images, opponents=8)
    assert agreement(found, judge.strengths) > 0.9999
    assert float(found.mean()) == pytest.approx(0, abs=1e-9)
    assert found.dtype == torch.float64
    met = judge.met.clone().fill_diagonal_(0).sum(1)  # a pair may meet twice
    assert met.min() >= 8
    assert met.sum() < 14 * N


def test_more_opponents_come_closer_to_all(images: PairSummary) -> None:
    judge: Any = Judge(noise=2)
    everyone = rank_by_comparison(judge, images, opponents="all")
    close = [agreement(rank_by_comparison(judge, images, opponents=k), everyone) for k in (8, 64)]
    assert 0.9 < close[0] < close[1] < 1
    assert close[1] > 0.97


def test_the_same_seed_gives_the_same_strengths(images: PairSummary) -> None:
    judge: Any = Judge(noise=1)
    first, second, other = (rank_by_opponents(judge, images, 8, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("count", "size"), [(10, 3), (11, 5), (6, 1), (100, 7)])
def test_stretches_are_linked(count: int, size: int) -> None:
    order = np.random.default_rng(0).permutation(count)
    parts = stretches(order, size)
    assert np.concatenate([part[:-1] for part in parts]).tolist() == order.tolist()
    assert all(one[-1] == other[0] for one, other in pairwise([*parts, parts[0]]))
    assert min(map(len, parts)) > size


def test_the_fit_is_that_of_the_likelihood() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=40)
    pairs = np.stack([generator.integers(0, 40, 400), generator.integers(0, 40, 400)])
    pairs = pairs[:, pairs[0] != pairs[1]]
    found = fit_strengths(pairs, expit(truth[pairs[0]] - truth[pairs[1]]), np.zeros(40))
    np.testing.assert_allclose(found, truth - truth.mean(), atol=1e-3)


def test_who_wins_always_has_a_finite_strength(images: PairSummary) -> None:
    judge: Any = Judge(noise=0)
    judge.strengths *= 1000
    found = rank_by_comparison(judge, images, opponents=8)
    assert torch.isfinite(found).all()
    assert agreement(found, judge.strengths) > 0.95


def test_how_many_meet() -> None:
    assert opponents_of(FEW, None) is None
    assert opponents_of(FEW + 1, None) == SOME
    assert opponents_of(FEW + 1, None, "borda") is None
    assert opponents_of(FEW + 1, "all") is None
    assert opponents_of(10, 16) is None  # there are not so many
    assert opponents_of(100, 16) == 16
    with pytest.raises(ConfigError, match="borda counts the wins over all others"):
        opponents_of(100, 16, "borda")
    with pytest.raises(ConfigError, match="opponents must be at least 4, not 3"):
        opponents_of(2, 3)

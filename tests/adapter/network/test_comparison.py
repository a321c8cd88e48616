"""Ranking by comparison: strengths from pair logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adapter import AdapterConfig, RankingAdapter
from adapter.errors import ConfigError
from adapter.network.comparison import bradley_terry, mean_wins, rank_by_comparison

if TYPE_CHECKING:
    from adapter.network.ranking import PairSummary

WIDTH = 16


@pytest.fixture(scope="module")
def adapter() -> RankingAdapter:
    sizes: dict[str, Any] = {"image_dim": WIDTH, "text_dim": WIDTH, "width": WIDTH}
    return RankingAdapter(AdapterConfig.released(**sizes)).eval()


@pytest.fixture(scope="module")
def summary(adapter: RankingAdapter) -> PairSummary:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(9, 4, WIDTH, generator=generator)
    return adapter.summarize(image, torch.randn(3, WIDTH, generator=generator))


def expected_wins(strength: Tensor) -> Tensor:
    p = torch.sigmoid(strength[:, None] - strength[None])
    return (p.sum(1) - 0.5) / (len(strength) - 1)


def test_wins_are_the_antisymmetrised_probabilities(
    adapter: RankingAdapter, summary: PairSummary
) -> None:
    logits = adapter.compare_summaries(summary, summary).double()
    p = torch.sigmoid((logits - logits.T) / 2)
    p.fill_diagonal_(0)
    expected = p.sum(1) / 8
    for block in (1, 2, 4, 9, 100):
        wins = mean_wins(adapter, summary, block=block)
        torch.testing.assert_close(wins, expected, rtol=1e-4, atol=1e-5)
        assert float(wins.mean()) == pytest.approx(0.5, abs=1e-12)


def test_no_block_is_larger_than_asked(
    adapter: RankingAdapter, summary: PairSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    relation: Any = adapter.reg_token_pooler
    original = relation.combine

    def watch(a: PairSummary, b: PairSummary) -> Tensor:
        seen.append(len(a) * len(b))
        return original(a, b)

    monkeypatch.setattr(relation, "combine", watch)
    mean_wins(adapter, summary, block=4)
    assert max(seen) <= 16
    assert sum(seen) == 16 + 16 + 1 + 16 + 4 + 4  # each pair once; on the diagonal whole blocks


def test_both_methods_give_the_same_order(adapter: RankingAdapter, summary: PairSummary) -> None:
    borda = rank_by_comparison(adapter, summary, method="borda")
    fitted = rank_by_comparison(adapter, summary, method="bradley-terry")
    assert torch.equal(borda.argsort(), fitted.argsort())
    assert borda.dtype == fitted.dtype == torch.float64


@settings(max_examples=40)
@given(
    strengths=st.lists(st.floats(-20, 20), min_size=2, max_size=30),
    block=st.sampled_from([1, 7, 1024]),
)
def test_fitted_strengths_reproduce_the_wins(strengths: list[float], block: int) -> None:
    wins = expected_wins(torch.tensor(strengths, dtype=torch.float64))
    n = len(strengths)
    fitted = bradley_terry(wins, tolerance=1e-6, block=block)
    shrunk = (1 - 1 / n) * wins + 0.5 / n
    torch.testing.assert_close(expected_wins(fitted), shrunk, rtol=0, atol=1e-6)
    assert float(fitted.mean()) == pytest.approx(0, abs=1e-9)


def test_strengths_are_recovered_as_their_number_grows() -> None:
    true = torch.randn(400, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fitted = bradley_terry(expected_wins(true))
    assert float((fitted - (true - true.mean())).abs().max()) < 0.05


@pytest.mark.parametrize("groups", [2, 3, 40])
def test_perfect_separation_stays_finite_and_in_order(groups: int) -> None:
    level = torch.arange(40) * groups // 40
    p = (level[:, None] > level[None]).double() + 0.5 * (level[:, None] == level[None])
    fitted = bradley_terry((p.sum(1) - 0.5) / 39)
    assert torch.isfinite(fitted).all()
    assert bool((fitted.diff()[level.diff() > 0] > 0).all())


def test_small_numbers_of_images(adapter: RankingAdapter, summary: PairSummary) -> None:
    for method in ("borda", "bradley-terry"):
        alone = rank_by_comparison(adapter, summary[:1], method=method)
        assert alone.shape == (1,)
        assert torch.isfinite(alone).all()
        pair = rank_by_comparison(adapter, summary[:2], method=method)
        assert torch.isfinite(pair).all()
        none = rank_by_comparison(adapter, summary[:0], method=method)
        assert none.shape == (0,)


def test_impossible_arguments(adapter: RankingAdapter, summary: PairSummary) -> None:
    with pytest.raises(ConfigError, match="method must be one of"):
        rank_by_comparison(adapter, summary, method="elo")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="block must be at least 1"):
        rank_by_comparison(adapter, summary, block=0)
    with pytest.raises(ConfigError, match="one half on average"):
        bradley_terry(torch.ones(3, dtype=torch.float64))

"""The linear-cost ranking head against the concatenated form of every pair."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from adapter import AdapterConfig, RankingAdapter
from adapter.network.ranking import PairRelation, PairSummary, RelationalAttention, pair_relation

WIDTH = 16


def config(preset: str = "released", **changes: Any) -> AdapterConfig:
    build = AdapterConfig.released if preset == "released" else AdapterConfig.paper
    sizes: dict[str, Any] = {"image_dim": WIDTH, "text_dim": WIDTH, "width": WIDTH}
    return build(**(sizes | {"relation_tokens": 3} | changes))


def concatenated(relation: RelationalAttention, tokens: Tensor, queries: Tensor) -> Tensor:
    """Every pair's softmax over both images' tokens, as the paper writes it: [B, B, D]."""
    B, P, D = tokens.shape
    H = relation.heads
    if relation.projected:
        queries = relation.ln_q(relation.q_proj(queries))
        tokens = relation.ln_kv(relation.kv_proj(tokens))
    rows = []
    for i in range(B):
        for j in range(B):
            both = torch.cat([tokens[i], tokens[j]])  # [2 P, D]
            parts: list[list[Tensor]] = [[], []]
            for h in range(H):
                head = slice(h * D // H, (h + 1) * D // H)
                logits = queries[:, head] @ both[:, head].T / (D // H) ** 0.5  # [M, 2 P]
                attention = logits.softmax(-1)
                parts[0].append(attention[:, :P] @ both[:P, head])  # [M, D / H]
                parts[1].append(attention[:, P:] @ both[P:, head])
            a, b = (torch.cat(part, dim=-1) for part in parts)  # [M, D] each
            merged = {"relational": a - b, "product": a + b, "concat": torch.cat([a, b], -1)}
            out = merged[relation.kind]
            if hasattr(relation, "out_proj"):
                out = relation.out_proj(out)
            rows.append(out.sum(0) if relation.pool == "sum" else out.mean(0))
    return torch.stack(rows).view(B, B, -1)


def inputs(B: int = 4, P: int = 5, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(B, P, WIDTH, generator=generator, dtype=torch.float64) * scale
    return tokens, torch.randn(3, WIDTH, generator=generator, dtype=torch.float64)


def relate(relation: PairRelation, tokens: Tensor, queries: Tensor) -> Tensor:
    summary = relation.summarize(tokens, queries)
    return relation.project(relation.combine(summary, summary))


@pytest.mark.parametrize("preset", ["released", "paper"])
@pytest.mark.parametrize("kind", ["relational", "product", "concat"])
@pytest.mark.parametrize("pool", ["sum", "mean"])
def test_factorized_equals_concatenated(preset: str, kind: str, pool: str) -> None:
    relation = pair_relation(config(preset, pair_head=kind, relation_pool=pool)).double()
    assert isinstance(relation, RelationalAttention)
    tokens, queries = (x.requires_grad_() for x in inputs())
    fast, slow = relate(relation, tokens, queries), concatenated(relation, tokens, queries)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)

    weights = torch.randn(fast.shape, dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((fast * weights).sum(), (tokens, queries)),
        torch.autograd.grad((slow * weights).sum(), (tokens, queries)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@settings(max_examples=25)
@given(
    B=st.integers(1, 4),
    P=st.integers(1, 6),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    heads=st.sampled_from([1, 2, 8]),
)
def test_factorized_equals_concatenated_at_any_size(
    B: int, P: int, scale: float, heads: int
) -> None:
    relation = pair_relation(config("paper", relation_heads=heads)).double()
    assert isinstance(relation, RelationalAttention)
    tokens, queries = inputs(B, P, scale)
    torch.testing.assert_close(
        relate(relation, tokens, queries),
        concatenated(relation, tokens, queries),
        rtol=1e-9,
        atol=1e-9,
    )


def test_extreme_logits_stay_finite() -> None:
    relation = pair_relation(config("paper"))
    tokens, queries = inputs(scale=1e4)
    tokens = tokens.float().requires_grad_()
    out = relate(relation, tokens, queries.float())
    out.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(out).all()
    assert tokens.grad is not None
    assert torch.isfinite(tokens.grad).all()


@pytest.mark.parametrize("preset", ["released", "paper"])
@pytest.mark.parametrize("kind", ["relational", "self", "subtract"])
def test_differences_are_antisymmetric_before_the_pair_network(preset: str, kind: str) -> None:
    relation = pair_relation(config(preset, pair_head=kind)).double()
    tokens, queries = inputs()
    summary = relation.summarize(tokens, queries)
    combined = relation.combine(summary, summary)
    torch.testing.assert_close(combined, -combined.transpose(0, 1), rtol=1e-10, atol=1e-10)
    assert not combined.diagonal().abs().max() > 1e-12


def test_self_attention_equals_attention_over_each_pair_alone() -> None:
    relation = pair_relation(config("paper", pair_head="self", relation_heads=2)).double()
    tokens, _ = inputs()
    combined = relate(relation, tokens, tokens[0])
    for i in range(4):
        for j in range(4):
            both = torch.cat([tokens[i], tokens[j]])
            heads = [
                (part @ part.T / (WIDTH // 2) ** 0.5).softmax(-1) @ part
                for part in both.chunk(2, dim=-1)
            ]
            out = torch.cat(heads, dim=-1)  # [2 P, D]
            expected = out[:5].mean(0) - out[5:].mean(0)
            torch.testing.assert_close(combined[i, j], expected)


def test_subtract_is_the_difference_of_mean_tokens() -> None:
    relation = pair_relation(config(pair_head="subtract"))
    tokens, queries = inputs()
    means = tokens.mean(1)
    torch.testing.assert_close(relate(relation, tokens, queries), means[:, None] - means[None])


@pytest.mark.parametrize("kind", ["relational", "product", "concat", "self", "subtract"])
def test_blocks_and_chosen_pairs_equal_the_whole(kind: str) -> None:
    adapter = RankingAdapter(config(pair_head=kind)).eval()
    image, text = torch.randn(5, 4, WIDTH), torch.randn(3, WIDTH)
    summary = adapter.summarize(image, text)
    assert len(summary) == 5
    whole = adapter.compare(image, text)
    close: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
    for block in (1, 2, 5, 9):
        in_blocks = adapter.compare_summaries(summary, summary, block)
        torch.testing.assert_close(in_blocks, whole, **close)
    torch.testing.assert_close(
        adapter.compare_summaries(summary[1:3], summary[2:]), whole[1:3, 2:], **close
    )
    forward, backward = adapter.compare_both_ways(summary[1:3], summary[2:])
    torch.testing.assert_close(forward, whole[1:3, 2:], **close)
    torch.testing.assert_close(backward, whole[2:, 1:3].T, **close)
    first, second = torch.tensor([4, 0, 2, 4]), torch.tensor([1, 3, 2, 1])
    torch.testing.assert_close(
        adapter.ordered_pair_logits(summary, first, second), whole[first, second], **close
    )


def test_summaries_join_and_map() -> None:
    adapter = RankingAdapter(config()).eval()
    summary = adapter.summarize(torch.randn(5, 4, WIDTH), torch.randn(3, WIDTH))
    assert summary.logsumexp is not None
    assert summary.logsumexp.shape == (5, 8, 3)
    assert summary.pooled.shape == (5, 8, 3, 2)
    joined = PairSummary.cat([summary[:2], summary[2:]])
    assert torch.equal(joined.pooled, summary.pooled)
    assert joined.logsumexp is not None
    assert torch.equal(joined.logsumexp, summary.logsumexp)
    picked = summary[torch.tensor([3, 1])]
    assert torch.equal(picked.pooled, summary.pooled[[3, 1]])
    assert summary.apply(torch.Tensor.double).pooled.dtype == torch.float64
    without = PairSummary(summary.pooled)
    assert PairSummary.cat([without, without]).logsumexp is None


def test_the_pair_network_sees_only_the_chosen_pairs() -> None:
    adapter = RankingAdapter(config()).eval()
    seen: list[torch.Size] = []
    adapter.pair_regressor.register_forward_hook(lambda _m, args, _o: seen.append(args[0].shape))
    summary = adapter.summarize(torch.randn(5, 4, WIDTH), torch.randn(3, WIDTH))
    adapter.ordered_pair_logits(summary, torch.tensor([0, 1]), torch.tensor([2, 3]))
    assert seen == [torch.Size([2, WIDTH])]


def test_the_benchmark_times_an_equal_form(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(__file__).parents[3] / "benchmarks" / "ranking_head.py"
    monkeypatch.syspath_prepend(path.parent)  # as for whoever runs it
    spec = importlib.util.spec_from_file_location("ranking_head", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    relation = pair_relation(config()).double()
    assert isinstance(relation, RelationalAttention)
    tokens, queries = inputs()
    first, second = torch.tensor([0, 3, 2]), torch.tensor([1, 3, 0])
    q, kv = module.project(relation, tokens, queries)
    naive = module.concatenated_pairs(relation, q, kv, first, second)
    torch.testing.assert_close(naive, concatenated(relation, tokens, queries)[first, second])


def test_cost_is_linear_in_images_and_patches_but_for_the_pair_step() -> None:
    relation = pair_relation(config(preset="paper"))

    def cost(B: int, P: int) -> tuple[int, int]:
        tokens, queries = (x.float() for x in inputs(B, P))
        with FlopCounterMode(display=False) as once:
            summary = relation.summarize(tokens, queries)
        with FlopCounterMode(display=False) as pairs:
            relation.combine(summary, summary)
        return once.get_total_flops(), pairs.get_total_flops()

    per_image, per_pair = cost(4, 5)
    assert per_image == 4 * 5 * 3 * WIDTH * 2 * 2  # B P M D, logits and values, two each
    assert per_pair == 4 * 4 * 3 * WIDTH * 2  # B B M D
    assert cost(4, 50) == (10 * per_image, per_pair)
    assert cost(8, 5) == (2 * per_image, 4 * per_pair)

"""RankFormer: a blend of attention and words, along one axis, of words alone."""

from __future__ import annotations

import math

import pytest
import torch

from adapter.methods.rank_former import RankFormer

K, T, D, HEADS = 3, 5, 8, 2


def former(axis: str) -> RankFormer:
    found = RankFormer(D, heads=HEADS, hidden=16, axis=axis, seed=0).double().requires_grad_(False)
    torch.nn.init.constant_(found.blend, 0.3)
    return found


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    words = torch.randn(K, T, D, generator=generator, dtype=torch.float64)
    mask = torch.zeros(K, T, dtype=torch.bool)
    mask[:, 1:4] = True
    mask[2, 3] = False
    return words, mask


def literal(network: RankFormer, words: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Write R' = (1 - a) R + a FFN(MSA(LN R)) with loops."""
    attention = network.attention
    x = network.norm(words)
    out = words.clone()
    size = D // HEADS
    maps = attention.in_proj_weight.split(D), attention.in_proj_bias.split(D)
    for k in range(K):
        for t in range(T):
            if not mask[k, t]:
                continue
            seen = (
                [(k, s) for s in range(T) if mask[k, s]]
                if network.axis == "token"
                else [(j, t) for j in range(K) if mask[j, t]]
            )
            q = maps[0][0] @ x[k, t] + maps[1][0]
            mixed = torch.zeros(D, dtype=torch.float64)
            for head in range(HEADS):
                part = slice(head * size, (head + 1) * size)
                keys = [(maps[0][1] @ x[place] + maps[1][1])[part] for place in seen]
                values = [(maps[0][2] @ x[place] + maps[1][2])[part] for place in seen]
                powers = [math.exp(float(q[part] @ key) / math.sqrt(size)) for key in keys]
                mixed[part] = sum(
                    p / sum(powers) * value for p, value in zip(powers, values, strict=True)
                )
            mixed = attention.out_proj(mixed)
            out[k, t] = (1 - network.blend) * words[k, t] + network.blend * network.mlp(mixed)
    return out


@pytest.mark.parametrize("axis", ["token", "rank"])
def test_written_out(axis):
    network = former(axis)
    words, mask = inputs()
    torch.testing.assert_close(network(words, mask), literal(network, words, mask))


@pytest.mark.parametrize("axis", ["token", "rank"])
def test_gradients(axis):
    network = former(axis)
    words, mask = inputs()
    assert torch.autograd.gradcheck(lambda x: network(x, mask), (words.requires_grad_(),))


def test_without_a_blend_words_stay():
    network = former("token")
    torch.nn.init.zeros_(network.blend)
    words, mask = inputs()
    torch.testing.assert_close(network(words, mask), words)


def test_heads_that_do_not_divide_are_fewer():
    assert RankFormer(6, heads=4, hidden=4, axis="token", seed=0).attention.num_heads == 3

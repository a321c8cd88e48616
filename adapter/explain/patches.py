"""Shares of patches: in a photo's score, and in which of two photos stands above the other.

The relational attention subtracts two sums over patches,

    O_ij = A_i V_i - A_j V_j,

so each patch p of photo i adds the vector A_ip V_ip, and each of photo j takes away A_jp V_jp.
The pair network turns O_ij into a logit; with its gradient g at O_ij, the number g . (A_ip V_ip)
says how far a patch spoke for its photo. These numbers add up to g . O_ij, the first-order answer.

The regression head pools its normalized tokens; there a patch's share is its token times the
gradient of the score, by the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from adapter.errors import ConfigError
from adapter.network.fusion import split_heads
from adapter.network.ranking import RelationalAttention

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from adapter.network.model import RankingAdapter


@dataclass(frozen=True, kw_only=True)
class PairShares:
    """Which patches spoke for the first photo, and which for the second.

    Attributes:
        vectors_first: float32 [P, D], A_i V_i by patch.
        vectors_second: float32 [P, D], A_j V_j by patch.
        gradient: float32 [D], of the pair logit, at O_ij.
        logit: o_ij; above zero speaks for the first photo.
    """

    vectors_first: NDArray[np.float32]
    vectors_second: NDArray[np.float32]
    gradient: NDArray[np.float32]
    logit: float

    @property
    def first(self) -> NDArray[np.float32]:
        """How far each patch [P] of the first photo spoke for the first."""
        found: NDArray[np.float32] = self.vectors_first @ self.gradient
        return found

    @property
    def second(self) -> NDArray[np.float32]:
        """How far each patch [P] of the second photo spoke for the second."""
        found: NDArray[np.float32] = self.vectors_second @ self.gradient
        return found


def pair_shares(
    model: RankingAdapter, first: Tensor, second: Tensor, text_tokens: Tensor
) -> PairShares:
    """Split the comparison of two photos over their patches.

    Args:
        model: An adapter whose ranking head is relational.
        first: [P, C], tokens of the first photo.
        second: [P, C], of the second.
        text_tokens: [T, D].

    Raises:
        ConfigError: The adapter has no such head.
    """
    head: Any = getattr(model, "reg_token_pooler", None)
    if not isinstance(head, RelationalAttention) or head.kind != "relational":
        raise ConfigError("this adapter compares without relational tokens, so it has no shares")
    with torch.no_grad():
        encoded = model.encode_tokens(torch.stack([first, second]).float(), text_tokens)
        queries = model.reg_tokens
        if head.projected:
            queries = head.ln_q(head.q_proj(queries))
            encoded = head.ln_kv(head.kv_proj(encoded))
        q = split_heads(queries[None], head.heads)  # [1, H, M, d]
        kv = split_heads(encoded, head.heads)  # [2, H, P, d]
        logits = (q * q.shape[-1] ** -0.5) @ kv.transpose(-1, -2)  # [2, H, M, P]
        patches = logits.shape[-1]
        both = torch.cat([logits[0], logits[1]], dim=-1).softmax(dim=-1)  # [H, M, 2 P]
        halves = torch.stack([both[..., :patches], both[..., patches:]])  # [2, H, M, P]
        shares = halves.sum(dim=2)  # [2, H, P]
        if head.pool == "mean":
            shares = shares / head.tokens
        vectors = shares[..., None] * kv  # [2, H, P, d]
        vectors = vectors.transpose(1, 2).flatten(2)  # [2, P, D]
    combined = (vectors[0].sum(0) - vectors[1].sum(0)).requires_grad_()  # [D], O_ij
    logit = model.pair_regressor(head.project(combined[None]))[0]
    (gradient,) = torch.autograd.grad(logit, combined)
    return PairShares(
        vectors_first=vectors[0].numpy(),
        vectors_second=vectors[1].numpy(),
        gradient=gradient.numpy(),
        logit=float(logit.detach()),
    )


def score_shares(model: RankingAdapter, tokens: Tensor, text_tokens: Tensor) -> NDArray[np.float32]:
    """Split a photo's score over its patches.

    Args:
        model: An adapter with a regression head.
        tokens: [P, C].
        text_tokens: [T, D].

    Returns:
        float32 [P]; they add up to the gradient of the score times the pooled token.

    Raises:
        ConfigError: The adapter has no regression head.
    """
    if not model.config.score_head:
        raise ConfigError("this adapter has no regression head, so there is no score to split")
    with torch.no_grad():
        normed = model.reg_ln(model.encode_tokens(tokens[None].float(), text_tokens))[0]  # [P, D]
        if model.config.score_pool == "mean":
            normed = normed / len(normed)
    pooled = normed.sum(0).requires_grad_()  # [D]
    score = model.regressor(pooled[None])[0]
    (gradient,) = torch.autograd.grad(score, pooled)
    found: NDArray[np.float32] = (normed @ gradient).numpy()
    return found


def relation_map(
    model: RankingAdapter, tokens: Tensor, text_tokens: Tensor
) -> NDArray[np.float32] | None:
    """Return how much the relational tokens looked at each patch: float32 [P], sums to 1.

    None where the adapter has no relational tokens.
    """
    head: Any = getattr(model, "reg_token_pooler", None)
    if not isinstance(head, RelationalAttention):
        return None
    with torch.no_grad():
        encoded = model.encode_tokens(tokens[None].float(), text_tokens)
        queries = model.reg_tokens
        if head.projected:
            queries = head.ln_q(head.q_proj(queries))
            encoded = head.ln_kv(head.kv_proj(encoded))
        q, kv = split_heads(queries[None], head.heads), split_heads(encoded, head.heads)
        attention = ((q * q.shape[-1] ** -0.5) @ kv.transpose(-1, -2)).softmax(dim=-1)
        found: NDArray[np.float32] = attention[0].mean(dim=(0, 1)).numpy()  # [P]
    return found


def grid_side(patches: int) -> int | None:
    """Return the side of a square grid of patches; None where they form no square."""
    side = int(np.sqrt(patches))
    return side if side * side == patches else None

"""Ranking-aware attention: what two images' tokens say about their order, at linear cost.

The paper's ranking-aware attention; ``MultiHeadRankawareAttentionV2`` in the released code.
Relational tokens Q attend to the tokens of both images of a pair, and the two images' parts of
the result are subtracted:

    [A_i, A_j] = softmax(Q [K_i; K_j]^T / sqrt(d)),    O_ij = A_i V_i - A_j V_j

That softmax over both images is the softmax over each image alone, weighed by how much of the
normalizer the image holds. With logits l_i, s_i = logsumexp(l_i) and o_i = softmax(l_i) V_i,

    O_ij = sigmoid(s_i - s_j) o_i - sigmoid(s_j - s_i) o_j

which is exact. So attention is computed once per image, and s and o (:class:`PairSummary`) are
all that an image brings to any pair: they can be kept for ranking in blocks, or exchanged
between processes. The sum over relational tokens goes before the output map, as that is linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from adapter.network.fusion import merge_heads, split_heads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.network.config import AdapterConfig


@dataclass(frozen=True)
class PairSummary:
    """What images bring to a comparison; B images.

    Attributes:
        pooled: [B, H, M, D / H], attended values o per relational token. The pair head
            ``subtract`` has H = M = 1 and mean tokens; ``self`` has all P tokens in place of M.
        logsumexp: [B, H, M], the log normalizer s of each attention; None for those two.
    """

    pooled: Tensor
    logsumexp: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return self.pooled.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Self:
        """Select images."""
        return self.apply(lambda x: x[index])

    def apply(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Map every tensor: moving to a device, exchanging between processes."""
        logsumexp = None if self.logsumexp is None else function(self.logsumexp)
        return type(self)(function(self.pooled), logsumexp)

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Join images of several summaries, in order."""
        lse = [part.logsumexp for part in parts if part.logsumexp is not None]
        return cls(torch.cat([part.pooled for part in parts]), torch.cat(lse) if lse else None)


class PairRelation(nn.Module):
    """Turns tokens into summaries, and two summaries into one vector per pair."""

    def summarize(self, tokens: Tensor, queries: Tensor | None) -> PairSummary:
        """Summarize images [B, P, D], given relational tokens [M, D] where the kind has them."""
        raise NotImplementedError

    def combine(self, a: PairSummary, b: PairSummary) -> Tensor:
        """Return one vector per pair, before the output map: [n, m, D or 2 D].

        Summaries of several prompts have a dimension more, in front; the result has it too.
        """
        raise NotImplementedError

    def reverse(self, combined: Tensor) -> Tensor:
        """Turn the vectors of pairs (i, j) into those of (j, i), each at the same place."""
        return -combined  # a difference; other kinds override this

    def project(self, combined: Tensor) -> Tensor:
        """Apply the output map: [..., D or 2 D] → [..., D]."""
        return combined


class RelationalAttention(PairRelation):
    """The method, and the two variants of Table 6 that also factorize.

    ``relational`` subtracts the two parts, ``product`` adds them (O = A V over the merged
    tokens), ``concat`` puts them side by side, for an output map from 2 D to D.
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        width = config.width
        self.kind = config.pair_head
        self.heads = config.relation_heads
        self.tokens = config.relation_tokens
        self.pool = config.relation_pool
        self.projected = config.relation_projections
        if self.projected:
            self.ln_q = nn.LayerNorm(width)
            self.ln_kv = nn.LayerNorm(width)
            self.q_proj = nn.Linear(width, width)
            self.kv_proj = nn.Linear(width, width)
        if self.projected or self.kind == "concat":
            self.out_proj = nn.Linear(2 * width if self.kind == "concat" else width, width)

    def summarize(self, tokens: Tensor, queries: Tensor | None) -> PairSummary:
        """Attend from the relational tokens to each image alone."""
        if queries is None:
            raise TypeError("relational attention needs relational tokens")
        if self.projected:
            queries = self.ln_q(self.q_proj(queries))
            tokens = self.ln_kv(self.kv_proj(tokens))
        q = split_heads(queries[None], self.heads)  # [1, H, M, D / H]
        kv = split_heads(tokens, self.heads)  # [B, H, P, D / H]
        logits = (q * q.shape[-1] ** -0.5) @ kv.transpose(-1, -2)  # [B, H, M, P]
        return PairSummary(logits.softmax(dim=-1) @ kv, logits.logsumexp(dim=-1))

    def combine(self, a: PairSummary, b: PairSummary) -> Tensor:
        """Weigh each image's values by its share of the pair's normalizer, pooled over M."""
        s_a, s_b = cast("Tensor", a.logsumexp), cast("Tensor", b.logsumexp)
        share = torch.sigmoid(s_a[..., :, None, :, :] - s_b[..., None, :, :, :])  # [n, m, H, M]
        if self.pool == "mean":
            share_a, share_b = share / self.tokens, (1 - share) / self.tokens
        else:
            share_a, share_b = share, 1 - share
        part_a = torch.einsum("...ijhm,...ihmd->...ijhd", share_a, a.pooled)
        if a is b:
            part_b = part_a.transpose(-4, -3)  # 1 - sigmoid(s_i - s_j) = sigmoid(s_j - s_i)
        else:
            part_b = torch.einsum("...ijhm,...jhmd->...ijhd", share_b, b.pooled)
        if self.kind == "concat":
            return torch.cat([part_a.flatten(-2), part_b.flatten(-2)], dim=-1)  # [n, m, 2 D]
        merged = part_a + part_b if self.kind == "product" else part_a - part_b
        return merged.flatten(-2)  # [n, m, D]

    def reverse(self, combined: Tensor) -> Tensor:
        """Negate a difference, keep a sum, swap what stands side by side."""
        if self.kind == "concat":
            return combined.roll(combined.shape[-1] // 2, dims=-1)
        return combined if self.kind == "product" else -combined

    def project(self, combined: Tensor) -> Tensor:
        """Apply the output map; a sum over M tokens holds its bias M times."""
        if not (self.projected or self.kind == "concat"):
            return combined
        times = self.tokens if self.pool == "sum" else 1
        return functional.linear(combined, self.out_proj.weight, self.out_proj.bias * times)


class PairSelfAttention(PairRelation):
    """Self-attention over both images' tokens (Table 6); our reading, as no code is released.

    Each of the pair's 2 P tokens attends to all of them; the mean result at one image's tokens
    minus the mean at the other's. This does not factorize: cost grows with B^2 P^2. Rows of
    pairs are computed one at a time, and again in the backward pass, so memory does not.
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.heads = config.relation_heads
        self.projected = config.relation_projections
        if self.projected:
            self.ln_kv = nn.LayerNorm(config.width)
            self.kv_proj = nn.Linear(config.width, config.width)
            self.out_proj = nn.Linear(config.width, config.width)

    def summarize(self, tokens: Tensor, queries: Tensor | None = None) -> PairSummary:
        """Keep all tokens."""
        del queries
        if self.projected:
            tokens = self.ln_kv(self.kv_proj(tokens))
        return PairSummary(split_heads(tokens, self.heads))  # [B, H, P, D / H]

    def combine(self, a: PairSummary, b: PairSummary) -> Tensor:
        """Attend within each pair."""
        if a.pooled.ndim > 4:
            prompts = zip(a.pooled, b.pooled, strict=True)
            return torch.stack([self.combine(PairSummary(x), PairSummary(y)) for x, y in prompts])
        rows = [checkpoint(self._row, one, b.pooled, use_reentrant=False) for one in a.pooled]
        return torch.stack(rows)  # [n, m, D]

    @staticmethod
    def _row(one: Tensor, others: Tensor) -> Tensor:
        """Compare one image [H, P, D / H] with m others [m, H, P, D / H] → [m, D]."""
        patches = one.shape[1]
        pair = torch.cat([one.expand(len(others), -1, -1, -1), others], dim=2)  # [m, H, 2 P, …]
        out = merge_heads(functional.scaled_dot_product_attention(pair, pair, pair))  # [m, 2 P, D]
        return out[:, :patches].mean(1) - out[:, patches:].mean(1)

    def project(self, combined: Tensor) -> Tensor:
        """Apply the output map, where there is one."""
        return cast("Tensor", self.out_proj(combined)) if self.projected else combined


class MeanDifference(PairRelation):
    """Mean tokens subtracted, without attention (Table 5, the pooler ``null`` of the code)."""

    def summarize(self, tokens: Tensor, queries: Tensor | None = None) -> PairSummary:
        """Average over patch tokens."""
        del queries
        return PairSummary(tokens.mean(dim=1)[:, None, None])  # [B, 1, 1, D]

    def combine(self, a: PairSummary, b: PairSummary) -> Tensor:
        """Subtract."""
        one, other = a.pooled[..., 0, 0, :], b.pooled[..., 0, 0, :]  # [n, D], [m, D]
        return one[..., :, None, :] - other[..., None, :, :]  # [n, m, D]


def pair_relation(config: AdapterConfig) -> PairRelation:
    """Build the relation that ``config.pair_head`` names (anything but ``none``)."""
    if config.pair_head == "self":
        return PairSelfAttention(config)
    if config.pair_head == "subtract":
        return MeanDifference()
    return RelationalAttention(config)

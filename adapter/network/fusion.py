"""Text-guided encoding: patch tokens attend to each other and to the prompt.

The paper's text-guided encoder; in the released code ``CrossModalQKVFusion`` and
``post_fuse_block``. Module and parameter names are those of the published checkpoints, so that
their state dicts load as they are.

A prompt given once, [1, T, D], is never copied for each image: the patch tokens of the whole
batch are queries of one long sequence against one set of keys and values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from adapter.network.config import AdapterConfig


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, N, D] → [B, H, N, D / H]."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[B, H, N, D / H] → [B, N, D]."""
    return x.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention; parameters named and initialized as torch's own module."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each sequence: [B, N, D] → [B, N, D]."""
        projected = functional.linear(x, self.in_proj_weight, self.in_proj_bias)  # [B, N, 3 D]
        q, k, v = (split_heads(part, self.heads) for part in projected.chunk(3, dim=-1))
        return self._attend(q, k, v)

    def project_keys(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a context [B or 1, T, D]: twice [B or 1, H, T, D / H]."""
        width = context.shape[-1]
        weight, bias = self.in_proj_weight[width:], self.in_proj_bias[width:]
        k, v = functional.linear(context, weight, bias).chunk(2, dim=-1)  # [B, T, D] each
        return split_heads(k, self.heads), split_heads(v, self.heads)

    def attend_to(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from x [B, N, D] to keys and values of :meth:`project_keys`.

        There is a context for each image, or one for each of several equal runs of images.
        """
        B, N, D = x.shape
        q = functional.linear(x, self.in_proj_weight[:D], self.in_proj_bias[:D])  # [B, N, D]
        q = q.reshape(keys.shape[0], -1, D)  # one context: one sequence of queries
        attended = self._attend(split_heads(q, self.heads), keys, values)
        return attended.reshape(B, N, D)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        out: Tensor = self.out_proj(merge_heads(attended))
        return out


class Mlp(nn.Module):
    """Two linear layers with a GELU in between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] → [..., D]."""
        out: Tensor = self.c_proj(functional.gelu(self.c_fc(x)))
        return out


class SelfBlock(nn.Module):
    """Pre-norm self-attention and MLP, each with a residual."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = MultiHeadAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[B, P, D] → [B, P, D]."""
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class CrossBlock(nn.Module):
    """Pre-norm cross-attention to the prompt and MLP, each with a residual."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.ln_1_kv = nn.LayerNorm(width)
        self.attn = MultiHeadAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """[B, P, D] attends to text [B, T, D], or [Q, T, D] for Q runs of images → [B, P, D]."""
        keys, values = self.attn.project_keys(self.ln_1_kv(text))
        x = x + self.attn.attend_to(self.ln_1(x), keys, values)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class CrossModalEncoder(nn.Module):
    """Self- and cross-attention blocks in turn, a layer normalization and a linear map.

    Unlike the released code, which leaves ``projection`` as uninitialized memory, it starts with
    a standard deviation of D^-1/2, which keeps the tokens' scale.
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        width, hidden = config.width, max(1, round(config.mlp_ratio * config.width))
        self.resblocks = nn.ModuleList(
            SelfBlock(width, config.heads, hidden) for _ in range(config.blocks)
        )
        self.cross_attn = nn.ModuleList(
            CrossBlock(width, config.heads, hidden) for _ in range(config.blocks)
        )
        self.ln_final = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.randn(width, width) * width**-0.5)

    def forward(self, x: Tensor, text: Tensor, *, every: bool = False) -> Tensor:
        """[B, P, D], text [B or 1, T, D] → [B, P, D].

        With ``every``, each image under each of Q prompts: text [Q, T, D] → [Q * B, P, D], the
        images of the first prompt first. What stands before the first prompt runs once.
        """
        copies = len(text) if every else 1
        for self_block, cross_block in zip(self.resblocks, self.cross_attn, strict=True):
            x = self_block(x)
            x = x.repeat(copies, 1, 1) if copies > 1 else x
            x, copies = cross_block(x, text), 1
        x = x.repeat(copies, 1, 1) if copies > 1 else x  # without blocks
        out: Tensor = self.ln_final(x) @ self.projection
        return out


class PostNormLayer(nn.Module):
    """A post-norm transformer layer with ReLU and dropout, as torch's encoder layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(width, heads, dropout)
        self.linear1 = nn.Linear(width, width)
        self.linear2 = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, P, D] → [B, P, D]."""
        x = self.norm1(x + self.dropout(self.self_attn(x)))
        hidden = self.dropout(functional.relu(self.linear1(x)))
        out: Tensor = self.norm2(x + self.dropout(self.linear2(hidden)))
        return out


class PostEncoder(nn.Module):
    """Post-norm layers after the encoder: in the released code, not in the paper."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            PostNormLayer(config.width, config.heads, config.dropout)
            for _ in range(config.post_blocks)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, P, D] → [B, P, D]."""
        for layer in self.layers:
            x = layer(x)
        return x

"""RankFormer of L2RCLIP: a little attention, blended into the word embeddings of rank prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class RankFormer(nn.Module):
    """R' = (1 - a) R + a FFN(MSA(LN R)), on the words of prompts.

    The paper's abstract calls it token-level attention with residual-style prompt blending in the
    word embedding space; its code is not published. a is learned from 0.01.

    Attributes:
        axis: ``token`` attends over the words of one prompt, ``rank`` over all prompts at one
            place.
    """

    def __init__(
        self, width: int, *, heads: int, hidden: int, axis: Literal["token", "rank"], seed: int
    ) -> None:
        """Draw the weights from a seed; ``heads`` is lowered until it divides ``width``."""
        super().__init__()
        self.axis = axis
        fitting = next(h for h in range(heads, 0, -1) if width % h == 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.norm = nn.LayerNorm(width)
            self.attention = nn.MultiheadAttention(width, fitting, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.blend = nn.Parameter(torch.tensor(0.01))

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """Blend.

        Args:
            words: float32 [K, T, D], embeddings of the prompts' tokens.
            mask: bool [K, T], which of them are words; the others are neither read nor changed.

        Returns:
            float32 [K, T, D].
        """
        x, seen = self.norm(words), mask
        if self.axis == "rank":
            x, seen = x.transpose(0, 1), seen.T  # [T, K, D], [T, K]
        # A row without a word would be a softmax over nothing: let it see itself, it is not used.
        hidden = ~seen & seen.any(dim=1, keepdim=True)
        mixed, _ = self.attention(x, x, x, key_padding_mask=hidden, need_weights=False)
        if self.axis == "rank":
            mixed = mixed.transpose(0, 1)  # [K, T, D]
        blended = (1 - self.blend) * words + self.blend * self.mlp(mixed)
        return torch.where(mask[..., None], blended, words)

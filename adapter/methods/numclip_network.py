"""The trained layers of NumCLIP: an adapter on the image embedding, and the fine head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class NumClipNetwork(nn.Module):
    """Layers with the names that :class:`adapter.methods.numclip.NumClipPredictor` keeps.

    Attributes:
        ratio: Share of the adapted embedding; the rest is the image's own.
        least: Smallest 1 + delta.
    """

    def __init__(self, width: int, classes: int, *, ratio: float, least: float, seed: int) -> None:
        """Draw the weights: those of the fine head from N(0, 0.001), its biases zero."""
        super().__init__()
        self.ratio, self.least = ratio, least
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.down = nn.Linear(width, width // 4, bias=False)
            self.up = nn.Linear(width // 4, width, bias=False)
            self.inner = nn.Linear(classes, 2 * classes)
            self.outer = nn.Linear(2 * classes, classes)
            for layer in (self.inner, self.outer):
                nn.init.normal_(layer.weight, std=1e-3)
                nn.init.zeros_(layer.bias)

    def logits(self, images: Tensor, prompts: Tensor, scale: float) -> Tensor:
        """Return scaled cosines [B, K] of pooled embeddings [B, E] and unit prompts [K, E]."""
        adapted = torch.relu(self.up(torch.relu(self.down(images))))  # [B, E]
        mixed = self.ratio * adapted + (1 - self.ratio) * images
        return scale * nn.functional.normalize(mixed, dim=-1) @ prompts.T

    def values(self, logits: Tensor, places: Tensor) -> Tensor:
        """Return sum_k p_k c_k / (1 + delta_k) [B] of logits [B, K] and starts c [K]."""
        delta = torch.tanh(self.outer(torch.relu(self.inner(logits))))  # [B, K]
        shares = torch.softmax(logits, dim=1)
        return (shares * places / (1 + delta).clamp(min=self.least)).sum(dim=1)

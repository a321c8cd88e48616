"""The layers of TMCR on frozen features: an encoder of patch tokens, and the head (``TMCR.py``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class Encoder(nn.Module):
    """Patch tokens to one vector: a learned attention pool, then two layers."""

    def __init__(self, tokens: int, width: int, pooling: Literal["attention", "mean"]) -> None:
        """Make the layers; without attention the tokens are averaged."""
        super().__init__()
        self.query = nn.Parameter(torch.zeros(tokens)) if pooling == "attention" else None
        self.norm = nn.LayerNorm(tokens)
        self.first = nn.Linear(tokens, width)
        self.second = nn.Linear(width, width)
        self.projector = nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode [B, P, C] to [B, W], before the projector."""
        x = self.norm(tokens)
        if self.query is None:
            pooled = x.mean(dim=1)  # [B, C]
        else:
            weights = torch.softmax(x @ self.query, dim=1)  # [B, P]
            pooled = (weights[:, None] @ x)[:, 0]  # [B, C]
        encoded: Tensor = self.second(nn.functional.gelu(self.first(pooled)))
        return encoded

    def project(self, encoded: Tensor) -> Tensor:
        """Return what is contrasted: [B, W], unit length."""
        return nn.functional.normalize(self.projector(encoded), dim=-1)


class TmcrNetwork(nn.Module):
    """[Linear BN ReLU of similarities | Linear BN ReLU of the encoder] to logits of L levels."""

    def __init__(
        self,
        *,
        tags: int,
        tokens: int,
        levels: int,
        width: int,
        parts: Literal["both", "tags", "contrast"],
        pooling: Literal["attention", "mean"],
        seed: int,
    ) -> None:
        """Draw the weights from a seed."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = None if parts == "tags" else Encoder(tokens, width, pooling)
            self.by_tags = None if parts == "contrast" else _branch(tags, width)
            self.by_tokens = None if parts == "tags" else _branch(width, width)
            self.head = nn.Linear((1 + (parts == "both")) * width, levels)

    def forward(self, similarities: Tensor, tokens: Tensor | None) -> Tensor:
        """Return logits [B, L] of similarities [B, S + A] and patch tokens [B, P, C]."""
        encoded = None
        if self.encoder is not None and tokens is not None:
            encoded = self.encoder(tokens)
        return self.read(similarities, encoded)

    def read(self, similarities: Tensor, encoded: Tensor | None) -> Tensor:
        """Return logits [B, L] of similarities and what the encoder gave [B, W]."""
        found = []
        if self.by_tags is not None:
            found.append(self.by_tags(similarities))
        if self.by_tokens is not None and encoded is not None:
            found.append(self.by_tokens(encoded))
        logits: Tensor = self.head(torch.cat(found, dim=1))
        return logits


def _branch(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU())

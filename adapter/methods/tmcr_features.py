"""What TMCR reads of an image: similarities with tags, and patch tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from adapter.methods.method import ImageVectors, Rows, unit_rows

if TYPE_CHECKING:
    import torch

Parts = Literal["both", "tags", "contrast"]
Pooling = Literal["attention", "mean"]


class Settings(Protocol):
    """The settings of :class:`adapter.methods.tmcr.Tmcr` that its two trainings read."""

    @property
    def parts(self) -> Parts:
        """As in the method."""

    @property
    def pooling(self) -> Pooling:
        """As in the method."""

    @property
    def finetune(self) -> bool:
        """As in the method."""

    @property
    def per_level(self) -> int:
        """As in the method."""

    @property
    def traversal(self) -> Literal["released", "printed"]:
        """As in the method."""

    @property
    def temperature(self) -> float:
        """As in the method."""

    @property
    def encoder_steps(self) -> int:
        """As in the method."""

    @property
    def encoder_lr(self) -> float:
        """As in the method."""

    @property
    def epochs(self) -> int:
        """As in the method."""

    @property
    def batch_size(self) -> int:
        """As in the method."""

    @property
    def lr(self) -> float:
        """As in the method."""


def tag_similarities(
    vectors: ImageVectors, rows: Rows, tags: Any, logit_scale: float
) -> torch.Tensor:
    """Return scaled cosines of images and tags, float32 [n, S + A] (``TM/TM_AVA.py``)."""
    import torch

    images = unit_rows(vectors.of("pooled", rows))  # [n, E]
    return torch.from_numpy((logit_scale * images @ unit_rows(tags).T).astype(np.float32))


def read_tokens(
    vectors: ImageVectors, rows: Rows, parts: Parts, pooling: Pooling
) -> torch.Tensor | None:
    """Return what the encoder reads: float32 [n, P, C], [n, 1, C] means, or None."""
    import torch

    if parts == "tags":
        return None
    if pooling == "mean":
        return torch.from_numpy(vectors.of("tokens", rows).astype(np.float32))[:, None]
    tokens = vectors.cache.tokens(rows, view=vectors.view)  # [n, P, C]
    return torch.from_numpy(np.array(tokens)).float()

"""OrdinalCLIP: learnt context, and ranks interpolated from a few learnt base ranks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from adapter.methods.method import Array, FoldData, require
from adapter.methods.zero_shot import CosineClassifier

if TYPE_CHECKING:
    import torch

Interpolation = Literal["linear", "inverse"]


def interpolation_weights(ranks: int, base_ranks: int, kind: Interpolation = "linear") -> Array:
    """Weights of the base ranks in each rank, float64 [K, K'], rows with sum 1.

    Base rank j stands at b_j, K' places from 0 to K - 1 at equal distances (the middle, for one).
    With d = |k - b_j|, ``linear`` gives 1 - d / (K - 1) and ``inverse`` 1 / (d + 1e-5), then
    each row is divided by its sum.

    Source: Li et al., "OrdinalCLIP", NeurIPS 2022, section 3.3; released code,
    ``ordinalclip/models/prompt_leaners/rank_prompt_learner.py``.
    """
    places = np.linspace(0, ranks - 1, base_ranks) if base_ranks > 1 else [(ranks - 1) / 2]
    distance = np.abs(np.arange(ranks)[:, None] - np.asarray(places)[None])  # [K, K']
    weights = 1 - distance / (ranks - 1) if kind == "linear" else 1 / (distance + 1e-5)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)


@dataclass(frozen=True, kw_only=True)
class OrdinalClip:
    """Li et al., "OrdinalCLIP: learning rank prompts for language-guided ordinal regression".

    NeurIPS 2022. The prompt of rank k is [V]_1 ... [V]_M [R_k]., where R_k is a sum of base rank
    embeddings with the weights of :func:`interpolation_weights`; the cross-entropy over ranks is
    minimized over context and base ranks. Two things differ from the authors' code: their image
    tower is trained too, here it is frozen as for all methods; and the loss is from image to
    text only.

    Attributes:
        context: M.
        base_ranks: K', at most the number of classes.
        interpolation: Form of the weights.
        steps: Updates.
        batch_size: Images per update.
        lr: Of RAdam, with cosine decay. The authors take 1e-4 with a trained image tower; with
            nothing but prompts to learn, more is needed.
    """

    context: int = 10
    base_ranks: int = 3
    interpolation: Interpolation = "linear"
    steps: int = 2000
    batch_size: int = 64
    lr: float = 0.002
    needs_text: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        require(self.context > 0, f"context must be at least 1, not {self.context}")
        require(self.base_ranks > 0, f"base_ranks must be at least 1, not {self.base_ranks}")
        require(
            self.interpolation in ("linear", "inverse"),
            f"interpolation must be linear or inverse, not {self.interpolation!r}",
        )
        require(self.steps > 0, f"steps must be at least 1, not {self.steps}")

    def fit(self, data: FoldData) -> CosineClassifier:
        """Learn context and base ranks."""
        import torch

        from adapter.methods.tuning import random_tokens, tune_prompts

        text = data.text()
        ranks = len(data.class_values)
        base_ranks = min(self.base_ranks, ranks)
        template = text.template(self.context + 1, [""] * ranks)
        context = random_tokens((self.context, text.width), data.seed, text.device)  # [M, D]
        base = random_tokens((base_ranks, text.width), data.seed + 1, text.device)  # [K', D]
        weights = torch.tensor(
            interpolation_weights(ranks, base_ranks, self.interpolation),
            dtype=torch.float32,
            device=text.device,
        )  # [K, K']
        classes = torch.from_numpy(data.classes_of(data.train)).to(text.device)  # [n]

        def prompts() -> torch.Tensor:
            rank = (weights @ base)[:, None]  # [K, 1, D]
            learnt = torch.cat([context[None].expand(ranks, -1, -1), rank], dim=1)  # [K, M+1, D]
            return text.encode_soft(template, learnt)  # [K, E]

        def loss_of(logits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(logits, classes[batch])

        tuned = tune_prompts(
            data,
            [context, base],
            prompts,
            loss_of,
            steps=self.steps,
            batch_size=self.batch_size,
            lr=self.lr,
            optimizer="radam",
        )
        return CosineClassifier(data, tuned, text.logit_scale)

    def quick(self) -> OrdinalClip:
        """Return the same with few steps and learnt vectors."""
        return replace(
            self, context=min(self.context, 4), steps=min(self.steps, 60), lr=10 * self.lr
        )

"""OrdinalCLIP: learned context, and ranks interpolated from a few learned base ranks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from adapter.methods.method import Array, FoldData, Hyperparameters
from adapter.methods.zero_shot import CosineClassifier

if TYPE_CHECKING:
    import torch

Interpolation = Literal["linear", "inverse", "normal"]


def interpolation_weights(ranks: int, base_ranks: int, kind: Interpolation = "linear") -> Array:
    """Weights of the base ranks in each rank, float64 [K, K'], rows with sum 1.

    Base rank j stands at b_j, K' places from 0 to K - 1 at equal distances (the middle, for one).
    With d = |k - b_j|, ``linear`` gives 1 - d / (K - 1), ``inverse`` 1 / (d + 1e-5) and ``normal``
    exp(-d^2); then each row is divided by its sum.

    Source: Li et al., "OrdinalCLIP", NeurIPS 2022, section 3.3; released code,
    ``ordinalclip/models/prompt_leaners/rank_prompt_learner.py``.
    """
    places = np.linspace(0, ranks - 1, base_ranks) if base_ranks > 1 else [(ranks - 1) / 2]
    distance = np.abs(np.arange(ranks)[:, None] - np.asarray(places)[None])  # [K, K']
    if kind == "linear":
        weights = 1 - distance / (ranks - 1)
    elif kind == "inverse":
        weights = 1 / (distance + 1e-5)
    else:
        # The largest entry of a row becomes 1 before the division: far ranks would be 0 / 0.
        weights = np.exp((distance**2).min(axis=1, keepdims=True) - distance**2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)


@dataclass(frozen=True, kw_only=True)
class OrdinalClip(Hyperparameters):
    """Li et al., "OrdinalCLIP: learning rank prompts for language-guided ordinal regression".

    NeurIPS 2022; released code (MIT). The prompt of rank k is [V]_1 ... [V]_M [R_k]., where R_k is
    a sum of base rank embeddings with the weights of :func:`interpolation_weights`. The
    cross-entropy over ranks and the divergence from text to image
    (:func:`adapter.methods.losses.text_image_kl`; ``runner/runner.py``) are minimized over context
    and base ranks. The authors train their image tower too (a VGG-16); here it is frozen, so
    expect less than the printed numbers.

    Attributes:
        init_words: What the context begins as; empty draws ``context`` random vectors.
        context: M, without ``init_words``.
        base_ranks: K', at most the number of ranks.
        interpolation: Of the ranks.
        epochs: Passes over the training images.
        steps: Updates; 0 takes ``epochs``.
        batch_size: Images per update.
        lr: Of RAdam, with a cosine that changes once per epoch. The original's 1e-4 belongs to a
            trained image tower; with nothing but prompts to learn, more is needed.
        weight_decay: Of RAdam.
        kl_weight: Of the divergence beside the cross-entropy; 0 leaves it out.
        flips: Draw from every view of the cache.
    """

    init_words: str = "age estimation: the age of the person is"
    context: int = 10
    base_ranks: int = 3
    interpolation: Interpolation = "linear"
    epochs: int = 100
    steps: int = 0
    batch_size: int = 32
    lr: float = 0.002
    weight_decay: float = 5e-4
    kl_weight: float = 1.0
    flips: bool = True
    needs_text: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        self._require_at_least(1, "context", "base_ranks", "epochs", "batch_size")
        self._require_at_least(0, "steps", "weight_decay", "kl_weight")
        self._require_positive("lr")

    def fit(self, data: FoldData) -> CosineClassifier:
        """Learn context and base ranks."""
        import torch

        from adapter.methods.tuning import random_tokens, tune_ordinal

        text = data.text()
        ranks = len(data.class_values)
        base_ranks = min(self.base_ranks, ranks)
        context = self._context(data)  # [M, D]
        template = text.template(len(context) + 1, [""] * ranks)
        base = random_tokens((base_ranks, text.width), data.seed + 1, text.device)  # [K', D]
        weights = torch.tensor(
            interpolation_weights(ranks, base_ranks, self.interpolation),
            dtype=torch.float32,
            device=text.device,
        )  # [K, K']

        def prompts() -> torch.Tensor:
            rank = (weights @ base)[:, None]  # [K, 1, D]
            learned = torch.cat([context[None].expand(ranks, -1, -1), rank], dim=1)  # [K, M+1, D]
            return text.encode_soft(template, learned)  # [K, E]

        tuned = tune_ordinal(self, data, {"context": context, "base": base}, prompts)
        return CosineClassifier.of(data, tuned)

    def _context(self, data: FoldData) -> torch.nn.Parameter:
        """Return the context as it begins: [M, D]."""
        import torch

        from adapter.methods.tuning import random_tokens

        text = data.text()
        if not self.init_words:
            return random_tokens((self.context, text.width), data.seed, text.device)
        ids = text.tokenize([self.init_words])
        return torch.nn.Parameter(text.embed(ids)[text.word_mask(ids)].clone())

    def quick(self) -> OrdinalClip:
        """Return the same with few steps and learned vectors."""
        return replace(self, init_words="", context=min(self.context, 4), steps=60, lr=10 * self.lr)

"""CLIP-IQA and CLIP-IQA+: a scale between two opposite prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from adapter.methods.method import (
    Array,
    FoldData,
    Prediction,
    Rows,
    require,
    softmax,
    unit_rows,
)

if TYPE_CHECKING:
    from typing import Any

    import torch


def antonym_score(images: Array, prompts: Array, scale: float) -> Array:
    """Return s = e^{c1} / (e^{c1} + e^{c2}) in [0, 1] of unit vectors [n, E] and [2, E]: [n].

    c1 and c2 are ``scale`` times the cosines with the prompts of the high and of the low end
    (CLIP-IQA, equation 3, where the scale is left out; the released code has it).
    """
    return softmax(scale * images @ prompts.T)[:, 0]


class AntonymScale:
    """Maps the score in [0, 1] to the range of the labels."""

    def __init__(self, data: FoldData, prompts: Any, scale: float) -> None:
        self._vectors, self._range = data.vectors, data.value_range
        self._prompts, self._scale = unit_rows(prompts), scale

    def __call__(self, rows: Rows) -> Prediction:
        """Predict values."""
        images = unit_rows(self._vectors.of("pooled", rows))  # [n, E]
        low, high = self._range
        score = antonym_score(images, self._prompts, self._scale)
        return Prediction(values=low + (high - low) * score)


@dataclass(frozen=True, kw_only=True)
class ClipIqa:
    """Wang et al., "Exploring CLIP for assessing the look and feel of images", AAAI 2023.

    Equations 2 and 3: the softmax of the similarities with two opposite prompts, first entry. No
    training. The authors take the image tower without positional embeddings and at native
    resolution; here it is the cached embedding. The score spans the range of the labels, which
    is the only thing that it takes from them.
    """

    needs_text: bool = True

    def fit(self, data: FoldData) -> AntonymScale:
        """Encode the two prompts."""
        text = data.text()
        return AntonymScale(data, text.encode(data.antonyms).cpu().numpy(), text.logit_scale)

    def quick(self) -> ClipIqa:
        """Return itself: there is nothing to shorten."""
        return self


@dataclass(frozen=True, kw_only=True)
class ClipIqaPlus:
    """CLIP-IQA+, the tuned form (same paper, section 3.3; released code, ``clipiqa_coop``).

    M learnt vectors, shared by both prompts, half before and half after the words of the pair,
    minimize the mean squared error between the score of :func:`antonym_score` and the label
    scaled to [0, 1].

    Attributes:
        context: M, an even number.
        steps: Updates.
        batch_size: Images per update.
        lr: Of SGD, with cosine decay.
    """

    context: int = 16
    steps: int = 2000
    batch_size: int = 64
    lr: float = 0.002
    needs_text: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        require(
            self.context > 0 and self.context % 2 == 0,
            f"context must be even and at least 2, not {self.context}",
        )
        require(self.steps > 0, f"steps must be at least 1, not {self.steps}")

    def fit(self, data: FoldData) -> AntonymScale:
        """Learn the vectors around the pair."""
        import torch

        from adapter.methods.tuning import random_tokens, tune_prompts

        text = data.text()
        half = self.context // 2
        template = text.template(half, [prompt.rstrip(".") for prompt in data.antonyms], half)
        context = random_tokens((self.context, text.width), data.seed, text.device)  # [M, D]
        low, high = data.value_range
        targets = torch.tensor(
            (data.train.values - low) / (high - low), dtype=torch.float32, device=text.device
        )  # [n]

        def prompts() -> torch.Tensor:
            return text.encode_soft(template, context[None].expand(2, -1, -1))  # [2, E]

        def loss_of(logits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
            scores = logits.softmax(dim=1)[:, 0]  # [b]
            return torch.nn.functional.mse_loss(scores, targets[batch])

        tuned = tune_prompts(
            data,
            [context],
            prompts,
            loss_of,
            steps=self.steps,
            batch_size=self.batch_size,
            lr=self.lr,
            optimizer="sgd",
        )
        return AntonymScale(data, tuned, text.logit_scale)

    def quick(self) -> ClipIqaPlus:
        """Return the same with few steps and learnt vectors."""
        return replace(
            self, context=min(self.context, 4), steps=min(self.steps, 60), lr=50 * self.lr
        )

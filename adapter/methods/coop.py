"""CoOp: learnt context words in front of each class name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from adapter.methods.method import FoldData, require
from adapter.methods.zero_shot import CosineClassifier

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class CoOp:
    """Zhou et al., "Learning to prompt for vision-language models", IJCV 2022, equations 2 and 3.

    The prompt of class k is [V]_1 ... [V]_M [name of k]., with context vectors shared by all
    classes, and p(k | x) = softmax_k(exp(t) cos(f(x), g(prompt_k))). The cross-entropy is
    minimized over the context alone. As in CoOp both towers stay frozen.

    Attributes:
        context: M.
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
        require(self.context > 0, f"context must be at least 1, not {self.context}")
        require(self.steps > 0, f"steps must be at least 1, not {self.steps}")

    def fit(self, data: FoldData) -> CosineClassifier:
        """Learn the context."""
        import torch

        from adapter.methods.tuning import random_tokens, tune_prompts

        text = data.text()
        template = text.template(self.context, [name.rstrip(".") for name in data.class_names])
        context = random_tokens((self.context, text.width), data.seed, text.device)  # [M, D]
        classes = torch.from_numpy(data.classes_of(data.train)).to(text.device)  # [n]

        def prompts() -> torch.Tensor:
            learnt = context[None].expand(len(data.class_names), -1, -1)  # [K, M, D]
            return text.encode_soft(template, learnt)  # [K, E]

        def loss_of(logits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(logits, classes[batch])

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
        return CosineClassifier(data, tuned, text.logit_scale)

    def quick(self) -> CoOp:
        """Return the same with few steps and learnt vectors."""
        return replace(
            self, context=min(self.context, 4), steps=min(self.steps, 60), lr=10 * self.lr
        )

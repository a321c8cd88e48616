"""Zero-shot CLIP: one prompt per class, no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter.methods.method import (
    Array,
    FoldData,
    Prediction,
    Rows,
    from_probabilities,
    softmax,
    unit_rows,
)

if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """Radford et al., "Learning transferable visual models", ICML 2021, section 3.1.

    p(k | x) = softmax_k(exp(t) cos(f(x), g(prompt_k))), with CLIP's own logit scale t. The class
    is the argmax, the value the expected class value.
    """

    needs_text: bool = True

    def fit(self, data: FoldData) -> CosineClassifier:
        """Encode the class prompts."""
        text = data.text()
        prompts = text.encode(data.class_prompts).cpu().numpy()
        return CosineClassifier(data, prompts, text.logit_scale)

    def quick(self) -> ZeroShot:
        """Return itself: there is nothing to shorten."""
        return self


class CosineClassifier:
    """Softmax over scaled cosines of images [n, E] and class embeddings [K, E]."""

    def __init__(self, data: FoldData, prompts: Any, scale: float) -> None:
        self._vectors, self._class_values = data.vectors, data.class_values
        self._prompts, self._scale = unit_rows(prompts), scale

    def __call__(self, rows: Rows) -> Prediction:
        """Predict classes and their expected value."""
        images = unit_rows(self._vectors.of("pooled", rows))  # [n, E]
        return from_probabilities(
            class_probabilities(images, self._prompts, self._scale), self._class_values
        )


def class_probabilities(images: Array, prompts: Array, scale: float) -> Array:
    """Return softmax_k(scale <x_n, g_k>) of unit vectors [n, E] and [K, E]: [n, K]."""
    return softmax(scale * images @ prompts.T)

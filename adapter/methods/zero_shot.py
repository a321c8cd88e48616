"""Zero-shot CLIP: one prompt per class, no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapter.methods.method import (
    Array,
    FoldData,
    Hyperparameters,
    ImageVectors,
    Prediction,
    Rows,
    from_probabilities,
    softmax,
    unit_rows,
)

if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, kw_only=True)
class ZeroShot(Hyperparameters):
    """Radford et al., "Learning transferable visual models", ICML 2021, section 3.1.

    p(k | x) = softmax_k(exp(t) cos(f(x), g(prompt_k))), with CLIP's own logit scale t. The class
    is the argmax, the value the expected class value.
    """

    needs_text: bool = True

    def fit(self, data: FoldData) -> CosineClassifier:
        """Encode the class prompts."""
        text = data.text()
        return CosineClassifier.of(data, text.encode(data.class_prompts).cpu().numpy())

    def quick(self) -> ZeroShot:
        """Return itself: there is nothing to shorten."""
        return self


@dataclass(frozen=True, kw_only=True)
class CosineClassifier:
    """Softmax over scaled cosines of images and classes.

    Attributes:
        prompts: float64 [K, E], unit length, one per class.
        class_values: float64 [K].
        logit_scale: Factor of the cosines.
    """

    prompts: Array
    class_values: Array
    logit_scale: float

    @classmethod
    def of(cls, data: FoldData, prompts: Any) -> CosineClassifier:
        """Take the fold's classes, and prompts [K, E] of any length."""
        return cls(
            prompts=unit_rows(prompts),
            class_values=data.class_values,
            logit_scale=data.text().logit_scale,
        )

    def predict(self, vectors: ImageVectors, rows: Rows) -> Prediction:
        """Predict classes and their expected value."""
        images = unit_rows(vectors.of("pooled", rows))  # [n, E]
        return from_probabilities(
            class_probabilities(images, self.prompts, self.logit_scale), self.class_values
        )


def class_probabilities(images: Array, prompts: Array, scale: float) -> Array:
    """Return softmax_k(scale <x_n, g_k>) of unit vectors [n, E] and [K, E]: [n, K]."""
    return softmax(scale * images @ prompts.T)

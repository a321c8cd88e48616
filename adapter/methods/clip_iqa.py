"""CLIP-IQA and CLIP-IQA+: a scale between two opposite prompts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from adapter.methods.antonyms import METRIC_ENSEMBLE, pairs_of
from adapter.methods.method import (
    Array,
    FoldData,
    Hyperparameters,
    ImageVectors,
    Prediction,
    Rows,
    require,
    softmax,
    unit_rows,
)

if TYPE_CHECKING:
    from typing import Any

    import torch

    from adapter.methods.antonyms import Pair

Recipe = Literal["released", "improved"]


def antonym_score(images: Array, prompts: Array, scale: float) -> Array:
    """Return s = e^{c1} / (e^{c1} + e^{c2}) in [0, 1] of unit vectors [n, E] and [2, E]: [n].

    c1 and c2 are ``scale`` times the cosines with the prompts of the high and of the low end
    (CLIP-IQA, equation 3, where the scale is left out; the released code has it).
    """
    return softmax(scale * images @ prompts.T)[:, 0]


@dataclass(frozen=True, kw_only=True)
class AntonymScale:
    """The mean score over pairs of opposite prompts, mapped to the scale of the labels.

    Attributes:
        prompts: float64 [2 m, E], unit length; of each pair the high end first.
        logit_scale: Factor of the cosines.
        low: Value of a score of 0.
        high: Value of a score of 1.
    """

    prompts: Array
    logit_scale: float
    low: float = 0.0
    high: float = 1.0

    @classmethod
    def of(cls, prompts: Any, logit_scale: float, scale: tuple[float, float]) -> AntonymScale:
        """Take prompts [2 m, E] of any length."""
        return cls(prompts=unit_rows(prompts), logit_scale=logit_scale, low=scale[0], high=scale[1])

    def scores(self, pooled: Array) -> Array:
        """Return the mean score over pairs in [0, 1] of pooled embeddings [n, E]: [n]."""
        images = unit_rows(pooled)
        pairs = self.prompts.reshape(-1, 2, self.prompts.shape[1])  # [m, 2, E]
        each = [antonym_score(images, pair, self.logit_scale) for pair in pairs]
        return np.asarray(np.mean(each, axis=0), np.float64)

    def predict(self, vectors: ImageVectors, rows: Rows) -> Prediction:
        """Predict values."""
        scores = self.scores(vectors.of("pooled", rows))
        return Prediction(values=self.low + (self.high - self.low) * scores)


@dataclass(frozen=True, kw_only=True)
class ClipIqa:
    """Wang et al., "Exploring CLIP for assessing the look and feel of images", AAAI 2023.

    Equations 2 and 3: the softmax of the similarities with two opposite prompts, first entry. No
    training. The authors take the image tower without positional embeddings and at native
    resolution: extract with ``--resize native --positions none --tokens none`` for that. The score
    spans the scale of the labels, which is the only thing that it takes from them.

    Attributes:
        pairs: Pairs of opposite prompts, the high end first, whose scores are averaged; or names
            of attributes (:mod:`adapter.methods.antonyms`). Empty takes the query's own pair.
        ensemble: Take the five pairs of the well-known metric collection instead.
    """

    pairs: tuple[Pair | str, ...] = ()
    ensemble: bool = False
    needs_text: bool = True

    def __post_init__(self) -> None:
        """Refuse unknown attributes, and two choices at once."""
        pairs_of(self.pairs)
        require(isinstance(self.ensemble, bool), f"ensemble is true or false, not {self.ensemble}")
        require(not (self.pairs and self.ensemble), "give either pairs or the ensemble, not both")

    def fit(self, data: FoldData) -> AntonymScale:
        """Encode the prompts."""
        text = data.text()
        pairs = METRIC_ENSEMBLE if self.ensemble else pairs_of(self.pairs) or (data.antonyms,)
        prompts = [prompt for pair in pairs for prompt in pair]
        return AntonymScale.of(
            text.encode(prompts).cpu().numpy(), text.logit_scale, data.value_range
        )

    def quick(self) -> ClipIqa:
        """Return itself: there is nothing to shorten."""
        return self


@dataclass(frozen=True, kw_only=True)
class ClipIqaPlus(Hyperparameters):
    """CLIP-IQA+, the tuned form (same paper, section 3.3; released code, ``clipiqa_coop``).

    M learned vectors, shared by both prompts, half before and half after the words of the pair,
    minimize the mean squared error between the score of :func:`antonym_score` and the label
    scaled to [0, 1] by the scale that the data set declares.

    Attributes:
        recipe: ``released`` is the authors' training: the prompt is half of the vectors, the
            words, a token "..", the other half, and nothing after them; plain SGD without
            momentum or decay. ``improved`` is ours: the prompt ends with its full stop, and AdamW
            learns the vectors.
        context: M, an even number.
        steps: Updates. The authors' 80,000 belong to batches of 128 on two GPUs.
        batch_size: Images per update.
        lr: With a cosine to nearly zero.
        flips: Draw from every view of the cache, as the authors flip.
    """

    recipe: Recipe = "released"
    context: int = 16
    steps: int = 4000
    batch_size: int = 64
    lr: float = 0.002
    flips: bool = True
    needs_text: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        require(
            self.context > 0 and self.context % 2 == 0,
            f"context must be even and at least 2, not {self.context}",
        )
        self._require_at_least(1, "steps", "batch_size")
        self._require_positive("lr")

    def fit(self, data: FoldData) -> AntonymScale:
        """Learn the vectors around the pair."""
        import torch

        from adapter.methods.loop import cosine
        from adapter.methods.tuning import random_tokens, tune_prompts

        text = data.text()
        half = self.context // 2
        words = [prompt.rstrip(".") for prompt in data.antonyms]
        released = self.recipe == "released"
        if released:  # the released prompts are "X X ... Good photo..", cut behind the words
            template = text.template(half, [f"{word} .." for word in words], half, stop="")
        else:
            template = text.template(half, words, half)
        context = random_tokens((self.context, text.width), data.seed, text.device)  # [M, D]
        low, high = data.value_range
        targets = torch.tensor(
            (data.train.values - low) / (high - low), dtype=torch.float32, device=text.device
        )  # [n]
        optimizer: torch.optim.Optimizer = (
            torch.optim.SGD([context], lr=self.lr)
            if released
            else torch.optim.AdamW([context], lr=self.lr, weight_decay=0.0)
        )

        def prompts() -> torch.Tensor:
            return text.encode_soft(template, context[None].expand(2, -1, -1))  # [2, E]

        def loss_of(logits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
            scores = logits.softmax(dim=1)[:, 0]  # [b]
            return torch.nn.functional.mse_loss(scores, targets[batch])

        tuned = tune_prompts(
            data,
            {"context": context},
            prompts,
            loss_of,
            optimizer,
            steps=self.steps,
            batch_size=self.batch_size,
            factor=lambda step: cosine(step, self.steps, end=1e-7 / self.lr),
            flips=self.flips,
        )
        return AntonymScale.of(tuned, text.logit_scale, data.value_range)

    def quick(self) -> ClipIqaPlus:
        """Return the same with few steps and learned vectors."""
        return replace(
            self, context=min(self.context, 4), steps=min(self.steps, 60), lr=50 * self.lr
        )

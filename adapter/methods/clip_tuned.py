"""CLIP tuned on captions that enumerate the answers, and CountingCLIP: a linear map per side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.methods.captions import captions_for
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
    from collections.abc import Sequence

    from torch import Tensor

LARGEST_SCALE = 100.0  # CLIP clamps its logit scale there
ZEROS = 0.2  # share of a counting query's batch whose true count is zero


@dataclass(frozen=True, kw_only=True)
class ClipTuned(Hyperparameters):
    """The rows "CLIP" that the papers fine-tune, on a frozen tower.

    The papers do not say how they tune it, so this is a definition of this project's:
    v' = norm(v (I + D_v)) and t' = norm(t (I + D_t)), with D_v and D_t [E, E] that begin at zero,
    and a logit scale that is learned up to 100. All captions of all queries are encoded once. A
    batch has one query: the cross-entropy over its captions, plus the supervised contrastive term
    from text to image over equal captions. The value of an image is sum_n p_n v_n. Nothing below
    the pooled embedding can be learned, which a tuned tower could.

    With ``counterfactual`` above 0 it is CountingCLIP (Paiss et al., "Teaching CLIP to count to
    ten", ICCV 2023, equation 3): -log of e^{s v.t} / (e^{s v.t} + e^{s v.t'}), where t' is the same
    caption with another number.

    Attributes:
        counterfactual: Weight of that loss, lambda.
        steps: Updates, over all queries together; the recipes of counts take 20,000.
        batch_size: Images per update.
        lr: Of AdamW, with a cosine to zero.
        weight_decay: Of AdamW.
        flips: Draw from every view of the cache.
    """

    counterfactual: float = 0.0
    steps: int = 4000
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.01
    flips: bool = True
    needs_text: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        self._require_at_least(1, "steps", "batch_size")
        self._require_at_least(0, "counterfactual", "weight_decay")
        self._require_positive("lr")

    def fit(self, data: FoldData) -> CaptionPredictor:
        """Learn the two maps from one query."""
        return self.fit_together([data])[0]

    def fit_together(self, folds: Sequence[FoldData]) -> list[CaptionPredictor]:
        """Learn the two maps from several queries of one cache, drawn uniformly.

        Args:
            folds: One per query, of the same cache, seed and folder.

        Returns:
            One predictor per query; they share the maps.
        """
        import torch

        from adapter.methods.loop import cosine, run_steps

        first = folds[0]
        text = first.text()
        queries = [_Query(data, text, self.flips) for data in folds]
        width = queries[0].images.vectors.shape[-1]
        image_map, text_map = (
            torch.nn.Parameter(torch.zeros(width, width, device=text.device)) for _ in range(2)
        )
        log_scale = torch.nn.Parameter(
            torch.tensor(np.log(min(text.logit_scale, LARGEST_SCALE)), device=text.device).float()
        )

        def loss_of(step: int) -> Tensor:
            draw = np.random.default_rng([first.seed, step])
            query = queries[int(draw.integers(len(queries)))]
            positions = query.draw(draw, self.batch_size)  # [b]
            images = mapped(query.images.batch(positions, step), image_map)  # [b, E]
            captions = mapped(query.captions, text_map)  # [K, E]
            numbers = query.classes[torch.from_numpy(positions).to(text.device)]  # [b]
            others = draw.integers(len(captions) - 1, size=len(positions))
            return caption_loss(
                images,
                captions,
                numbers,
                torch.from_numpy(others).to(text.device),
                log_scale.exp(),
                self.counterfactual,
            )

        def clamp() -> None:
            with torch.no_grad():
                log_scale.clamp_(max=float(np.log(LARGEST_SCALE)))

        parameters = {"image": image_map, "text": text_map, "scale": log_scale}
        run_steps(
            first,
            parameters,
            torch.optim.AdamW(parameters.values(), lr=self.lr, weight_decay=self.weight_decay),
            loss_of,
            self.steps,
            factor=lambda step: cosine(step, self.steps),
            after=clamp,
        )
        with torch.no_grad():
            matrix = (image_map + torch.eye(width, device=text.device)).cpu().numpy()
            scale = float(log_scale.exp())
            return [
                CaptionPredictor(
                    image_map=matrix.astype(np.float64),
                    captions=mapped(query.captions, text_map).cpu().numpy().astype(np.float64),
                    values=query.values,
                    logit_scale=scale,
                    by_class=bool(np.array_equal(query.values, data.class_values)),
                )
                for query, data in zip(queries, folds, strict=True)
            ]

    def quick(self) -> ClipTuned:
        """Return the same with few steps."""
        return replace(self, steps=min(self.steps, 60))


def counting_clip(**changes: Any) -> ClipTuned:
    """Return CountingCLIP: the tuned CLIP with the counterfactual loss at the paper's weight 1."""
    return replace(ClipTuned(counterfactual=1.0), **changes)


class _Query:
    """What one query brings to a batch: images, captions, and how its images are drawn."""

    def __init__(self, data: FoldData, text: Any, flips: bool) -> None:
        import torch

        from adapter.methods.tuning import TrainingImages

        captions = captions_for(data)
        self.values = captions.values
        self.captions: Tensor = text.encode(captions.texts)  # [K, E]
        self.images = TrainingImages(data, text.device, flips=flips)
        numbers = captions.classes_of(data.train.values)
        self.classes = torch.from_numpy(numbers).to(text.device)  # [n]
        # Every answer has the same probability, but for zeros of counts, which have a share.
        _, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        weights = 1.0 / counts[place]
        zero = data.train.values == 0
        if 0 < zero.sum() < len(zero) and len(captions.values) > len(data.class_values):
            weights[zero] *= ZEROS / weights[zero].sum()
            weights[~zero] *= (1 - ZEROS) / weights[~zero].sum()
        self._cumulated = np.cumsum(weights / weights.sum())

    def draw(self, generator: np.random.Generator, count: int) -> Any:
        """Draw positions int64 [count], with replacement."""
        places = np.searchsorted(self._cumulated, generator.random(count), side="right")
        return places.clip(max=len(self._cumulated) - 1)


def mapped(vectors: Tensor, change: Tensor) -> Tensor:
    """Return norm(x (I + D)) of unit rows [n, E]."""
    import torch

    return torch.nn.functional.normalize(vectors + vectors @ change, dim=-1)


def caption_loss(
    images: Tensor,
    captions: Tensor,
    numbers: Tensor,
    others: Tensor,
    scale: Tensor,
    counterfactual: float,
) -> Tensor:
    """The loss of one batch: cross-entropy over captions, contrast over equal ones, and lambda.

    Args:
        images: [B, E], unit length.
        captions: [K, E], unit length.
        numbers: int64 [B], each image's caption.
        others: int64 [B], in 0 ... K - 2: which of the other captions is the counterfactual.
        scale: Of the cosines.
        counterfactual: Weight of -log e^{s v.t} / (e^{s v.t} + e^{s v.t'}).
    """
    import torch

    from adapter.methods.losses import supervised_contrastive

    logits = scale * images @ captions.T  # [B, K]
    loss = torch.nn.functional.cross_entropy(logits, numbers)
    same = numbers[:, None] == numbers[None]  # [B, B]
    loss = loss + supervised_contrastive(captions[numbers], images, same, scale)
    if counterfactual:
        false = others + (others >= numbers)  # skips the true caption
        gap = logits.gather(1, numbers[:, None]) - logits.gather(1, false[:, None])  # [B, 1]
        loss = loss + counterfactual * torch.nn.functional.softplus(-gap).mean()
    return loss


@dataclass(frozen=True, kw_only=True)
class CaptionPredictor:
    """The fitted maps and one query's captions.

    Attributes:
        image_map: float64 [E, E].
        captions: float64 [K, E], mapped, unit length.
        values: float64 [K], what each caption stands for.
        logit_scale: Factor of the cosines.
        by_class: Whether the captions are the fold's classes, so that their probabilities count.
    """

    image_map: Array
    captions: Array
    values: Array
    logit_scale: float
    by_class: bool

    def predict(self, vectors: ImageVectors, rows: Rows) -> Prediction:
        """Predict the expected value over captions."""
        images = unit_rows(unit_rows(vectors.of("pooled", rows)) @ self.image_map)  # [n, E]
        found = from_probabilities(
            softmax(self.logit_scale * images @ self.captions.T), self.values
        )
        return found if self.by_class else replace(found, probabilities=None)

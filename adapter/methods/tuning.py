"""What prompt-tuned methods share: cached image embeddings, gradients through the text tower.

An update costs one pass of a few prompts through the text tower; images are rows of a matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from adapter.methods.loop import Epochs, Schedule, batch_of, run_steps
from adapter.methods.losses import text_image_kl
from adapter.methods.method import unit_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from adapter.methods.method import FoldData

INIT_STD = 0.02  # of learned token embeddings, in CoOp's, OrdinalCLIP's and CLIP-IQA+'s code


def random_tokens(shape: Sequence[int], seed: int, device: torch.device) -> torch.nn.Parameter:
    """Draw learnable token embeddings, float32, the same for one seed on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.Parameter((INIT_STD * torch.randn(*shape, generator=generator)).to(device))


class TrainingImages:
    """The pooled embeddings of a fold's training part, in every view, drawn by step.

    Attributes:
        vectors: float32 [V, n, E], on the device; of unit length unless ``unit`` was false.
    """

    def __init__(
        self, data: FoldData, device: torch.device, *, flips: bool = True, unit: bool = True
    ) -> None:
        views = data.vectors.views if flips else (data.vectors,)
        found = [view.of("pooled", data.train.rows) for view in views]
        self.vectors = torch.tensor(
            np.stack([unit_rows(x) if unit else x for x in found]),
            dtype=torch.float32,
            device=device,
        )  # [V, n, E]
        self._seed = data.seed

    def batch(self, positions: NDArray[np.int64], step: int) -> Tensor:
        """Return float32 [b, E]: each image in a view that (seed, step) draws."""
        draw = np.random.default_rng([self._seed, step, 1])
        views = draw.integers(len(self.vectors), size=len(positions))
        return self.vectors[torch.from_numpy(views), torch.from_numpy(positions)]


def tune_prompts(
    data: FoldData,
    parameters: Mapping[str, Tensor],
    prompts: Callable[[], Tensor],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    batch_size: int,
    factor: Callable[[int], float],
    flips: bool = True,
) -> NDArray[np.float32]:
    """Minimize a loss over batches of a fold's training images.

    Args:
        data: The fold; its seed determines the order of images and their views.
        parameters: What is learned, in place.
        prompts: Encodes the prompts of the parameters as they are: float32 [K, E], normalized.
        loss_of: From logits [b, K], the cosines of images and prompts times CLIP's scale, and
            int64 [b], the images' positions in the training part, to the mean loss.
        optimizer: Over the parameters.
        steps: Updates.
        batch_size: b; images are drawn anew each epoch, without replacement within it.
        factor: Of the learning rate, at a step.
        flips: Draw from every view that the cache holds.

    Returns:
        float32 [K, E], the learned prompts, encoded.

    Raises:
        TrainingError: The loss is not finite.
    """
    text = data.text()
    images = TrainingImages(data, text.device, flips=flips)
    count = len(data.train.rows)

    def step_loss(step: int) -> Tensor:
        positions = batch_of(count, batch_size, step, data.seed)  # [b]
        logits = text.logit_scale * images.batch(positions, step) @ prompts().T  # [b, K]
        return loss_of(logits, torch.from_numpy(positions).to(text.device))

    run_steps(data, parameters, optimizer, step_loss, steps, factor=factor)
    with torch.no_grad():
        encoded: NDArray[np.float32] = prompts().cpu().numpy()
    return encoded


class OrdinalSettings(Epochs, Protocol):
    """The settings that OrdinalCLIP's code has for its own prompts and for CoOp's."""

    @property
    def lr(self) -> float:
        """Of RAdam."""

    @property
    def weight_decay(self) -> float:
        """Of RAdam."""

    @property
    def kl_weight(self) -> float:
        """Of the divergence beside the cross-entropy; 0 leaves it out."""

    @property
    def flips(self) -> bool:
        """Draw from every view that the cache holds."""


def tune_ordinal(
    method: OrdinalSettings,
    data: FoldData,
    parameters: Mapping[str, Tensor],
    prompts: Callable[[], Tensor],
) -> NDArray[np.float32]:
    """Tune prompts as OrdinalCLIP's code does (``runner/runner.py``, MIT).

    Cross-entropy over classes, plus the divergence from text to image of
    :func:`adapter.methods.losses.text_image_kl`, by RAdam on a cosine that changes once per epoch.
    Arguments, result and errors are those of :func:`tune_prompts`.
    """
    device = data.text().device
    classes = torch.from_numpy(data.classes_of(data.train)).to(device)  # [n]
    schedule = Schedule.of(method, len(classes))

    def loss_of(logits: Tensor, batch: Tensor) -> Tensor:
        loss = torch.nn.functional.cross_entropy(logits, classes[batch])
        if method.kl_weight:
            loss = loss + method.kl_weight * text_image_kl(logits, classes[batch])
        return loss

    return tune_prompts(
        data,
        parameters,
        prompts,
        loss_of,
        torch.optim.RAdam(parameters.values(), lr=method.lr, weight_decay=method.weight_decay),
        steps=schedule.steps,
        batch_size=method.batch_size,
        factor=schedule.cosine_by_epoch,
        flips=method.flips,
    )

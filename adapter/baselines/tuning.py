"""The loop that all prompt-tuned methods share: cached image embeddings, gradients through text.

An update costs one pass of a few prompts through the text tower; images are rows of a matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from adapter.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

Optimiser = Literal["sgd", "radam"]
INIT_STD = 0.02  # of learnt token embeddings, in CoOp's, OrdinalCLIP's and CLIP-IQA+'s code
REPORT_EVERY = 20


def random_tokens(shape: Sequence[int], seed: int, device: torch.device) -> torch.nn.Parameter:
    """Draw learnable token embeddings, float32, the same for one seed on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.Parameter((INIT_STD * torch.randn(*shape, generator=generator)).to(device))


def tune(
    parameters: Sequence[torch.nn.Parameter],
    loss_of: Callable[[Tensor], Tensor],
    num_images: int,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    optimiser: Optimiser,
    seed: int,
    on_progress: Callable[[int, int], None],
) -> None:
    """Minimise a loss over batches of training images, with a cosine schedule to zero.

    Args:
        parameters: What is learnt, in place.
        loss_of: From int64 [b], positions in the training part, to the mean loss.
        num_images: Size of the training part.
        steps: Updates.
        batch_size: b; images are drawn anew each epoch, without replacement within it.
        lr: Learning rate at the first step.
        optimiser: ``sgd`` with momentum 0.9 and weight decay 5e-4 (CoOp), or ``radam``
            (OrdinalCLIP).
        seed: Of the order of images.
        on_progress: Told (steps done, steps in all).

    Raises:
        TrainingError: The loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer: torch.optim.Optimizer = (
        torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=5e-4)
        if optimiser == "sgd"
        else torch.optim.RAdam(parameters, lr=lr)
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(1, steps + 1):
        if len(order) == 0:
            order = torch.randperm(num_images, generator=generator)
        batch, order = order[:batch_size], order[batch_size:]
        loss = loss_of(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % REPORT_EVERY == 0 or step == steps:
            if not bool(torch.isfinite(loss)):
                raise TrainingError(f"the loss is {float(loss)} at step {step}; lower lr ({lr:g})")
            on_progress(step, steps)

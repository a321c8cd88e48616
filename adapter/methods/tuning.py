"""The loop that all prompt-tuned methods share: cached image embeddings, gradients through text.

An update costs one pass of a few prompts through the text tower; images are rows of a matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from adapter.errors import TrainingError
from adapter.methods.method import unit_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from adapter.methods.method import FoldData

Optimizer = Literal["sgd", "radam"]
INIT_STD = 0.02  # of learnt token embeddings, in CoOp's, OrdinalCLIP's and CLIP-IQA+'s code
REPORT_EVERY = 20


def random_tokens(shape: Sequence[int], seed: int, device: torch.device) -> torch.nn.Parameter:
    """Draw learnable token embeddings, float32, the same for one seed on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.Parameter((INIT_STD * torch.randn(*shape, generator=generator)).to(device))


def tune_prompts(
    data: FoldData,
    parameters: Sequence[torch.nn.Parameter],
    prompts: Callable[[], Tensor],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    *,
    steps: int,
    batch_size: int,
    lr: float,
    optimizer: Optimizer,
) -> NDArray[np.float32]:
    """Minimize a loss over batches of a fold's training images, with a cosine schedule to zero.

    Args:
        data: The fold; its seed determines the order of images.
        parameters: What is learnt, in place.
        prompts: Encodes the prompts of the parameters as they are: float32 [K, E], normalized.
        loss_of: From logits [b, K], the cosines of images and prompts times CLIP's scale, and
            int64 [b], the images' positions in the training part, to the mean loss.
        steps: Updates.
        batch_size: b; images are drawn anew each epoch, without replacement within it.
        lr: Learning rate at the first step.
        optimizer: ``sgd`` with momentum 0.9 and weight decay 5e-4 (CoOp), or ``radam``
            (OrdinalCLIP).

    Returns:
        float32 [K, E], the learnt prompts, encoded.

    Raises:
        TrainingError: The loss is not finite.
    """
    text = data.text()
    images = torch.tensor(
        unit_rows(data.vectors.of("pooled", data.train.rows)),
        dtype=torch.float32,
        device=text.device,
    )  # [n, E]
    generator = torch.Generator().manual_seed(data.seed)
    stepper: torch.optim.Optimizer = (
        torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=5e-4)
        if optimizer == "sgd"
        else torch.optim.RAdam(parameters, lr=lr)
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(stepper, T_max=steps)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(1, steps + 1):
        if len(order) == 0:
            order = torch.randperm(len(images), generator=generator)
        batch, order = order[:batch_size], order[batch_size:]
        logits = text.logit_scale * images[batch] @ prompts().T  # [b, K]
        loss = loss_of(logits, batch)
        stepper.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        stepper.step()
        schedule.step()
        if step % REPORT_EVERY == 0 or step == steps:
            if not bool(torch.isfinite(loss)):
                raise TrainingError(f"the loss is {float(loss)} at step {step}; lower lr ({lr:g})")
            data.on_progress(step, steps)
    with torch.no_grad():
        encoded: NDArray[np.float32] = prompts().cpu().numpy()
    return encoded

"""The optimizer: AdamW with AMSGrad, linear warm-up, cosine to zero.

Source: ``training/main.py`` and ``training/params.py`` of the released code (amsgrad, betas
0.9 and 0.999, eps 1e-8, weight decay 0.01, per-step schedule) and the paper's section 4.1.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapter.settings import OptimConfig


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """Learning rate of update ``step`` (from 0) of ``steps``.

    Grows linearly to ``lr`` over the warm-up, then falls along half a cosine to zero.
    """
    warmup = round(config.warmup * steps) if config.warmup < 1 else round(config.warmup)
    warmup = min(warmup, steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "constant":
        return config.lr
    progress = (step - warmup) / max(steps - warmup, 1)
    return 0.5 * config.lr * (1 + math.cos(math.pi * progress))


def parameter_groups(
    model: nn.Module, weight_decay: float, decay: Literal["matrices", "released"]
) -> list[dict[str, Any]]:
    """Split trainable parameters into those with decay and those without, by name order.

    A parameter that belongs to no matrix product as a weight, such as a bank of learned tokens,
    should not be pulled towards zero; the released code decays those too.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in sorted(model.named_parameters()):
        if parameter.requires_grad:
            is_token = decay == "matrices" and "token" in name.rsplit(".", 1)[-1]
            (decayed if parameter.ndim >= 2 and not is_token else kept).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Make the optimizer; fused where every parameter is on one kind of device."""
    return torch.optim.AdamW(
        parameter_groups(model, config.weight_decay, config.decay),
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        amsgrad=config.amsgrad,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def gradient_norm(parameters: Iterable[nn.Parameter], clip_norm: float | None) -> torch.Tensor:
    """Norm of the whole gradient, clipped in place if asked; a scalar tensor, not fetched."""
    with_gradient = [p for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in with_gradient if p.grad is not None])
    if clip_norm is not None:
        nn.utils.clip_grads_with_norm_(with_gradient, clip_norm, norm)
    return norm

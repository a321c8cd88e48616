"""Losses that several methods share; each takes what its equation names, in float32.

Sources are named at each function. Where the original divides by something that can be zero
(all labels equal, a class that is absent from a batch), it says here what happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

HARD_TARGET = 10.0  # factor of the one-hot targets in the KL term of OrdinalCLIP's code


def supervised_contrastive(
    anchors: Tensor, others: Tensor, same: Tensor, scale: float | Tensor
) -> Tensor:
    """Khosla et al., "Supervised contrastive learning", NeurIPS 2020, equation 2, across two sets.

    -mean_i mean_{j: same_ij} log softmax_j(scale <a_i, o_j>).

    Args:
        anchors: [B, E], unit length.
        others: [N, E], unit length.
        same: bool [B, N]; every row has at least one true entry.
        scale: Of the cosines.
    """
    logs = torch.log_softmax(scale * anchors @ others.T, dim=1)  # [B, N]
    weights = same.to(logs.dtype)
    return -((logs * weights).sum(dim=1) / weights.sum(dim=1)).mean()


def text_image_kl(logits: Tensor, classes: Tensor, factors: Tensor | None = None) -> Tensor:
    """KL from text to image over a batch: the second term of OrdinalCLIP's and NumCLIP's code.

    For each class k that is in the batch, the targets are softmax_b(10 [y_b = k]) and the
    predictions softmax_b(u_kb l_bk); the divergences are averaged over those classes. A class
    that is absent has no target and takes no part.

    Args:
        logits: [B, K], scaled cosines.
        classes: int64 [B].
        factors: [K, B], u of NumCLIP's ranking-calibrated form; ones when left out.
    """
    hot = functional.one_hot(classes, logits.shape[1]).T.to(logits.dtype)  # [K, B]
    present = hot.sum(dim=1) > 0  # [K]
    rows = logits.T if factors is None else factors * logits.T  # [K, B]
    targets = torch.softmax(HARD_TARGET * hot[present], dim=1)
    return (
        functional.kl_div(torch.log_softmax(rows[present], dim=1), targets, reduction="sum")
        / present.sum()
    )


def emd(predicted: Tensor, target: Tensor, power: int = 2) -> Tensor:
    """Earth mover's distance of distributions over ordered levels (NIMA, TIP 2018, equation 1).

    mean_b (mean_l |CDF_p(l) - CDF_q(l)|^r)^(1/r).

    Args:
        predicted: [B, L], rows sum to 1.
        target: [B, L].
        power: r; 2 to learn, 1 to report.
    """
    gap = (predicted.cumsum(dim=1) - target.cumsum(dim=1)).abs()  # [B, L]
    # The root of exactly zero has no gradient.
    return (gap.pow(power).mean(dim=1) + 1e-12).pow(1.0 / power).mean()

"""Mean and deviation of the image tokens' channels, for an adapter that standardizes its inputs.

Some channels of a backbone's tokens are tens of times as large as others, and many are far from
zero. A linear map that has just begun sees the large ones alone, and needs many steps to find what
the small ones say; see LeCun et al., "Efficient BackProp" (1998).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from adapter.data.feed import token_layout
from adapter.stacking.ridge import standardizer

if TYPE_CHECKING:
    from adapter.network.model import RankingAdapter
    from adapter.stacking.stack import Array
    from adapter.training.prepare import Preparation

TOKENS = 20_000  # that are read, of all caches: more hardly move mean and deviation


def standardize(model: RankingAdapter, run: Preparation) -> None:
    """Give an adapter mean and deviation of the training images' tokens, of the first view.

    Args:
        model: One whose configuration says ``standardize``; changed in place.
        run: Where the images are.
    """
    found = standardizer(_some_tokens(run))  # [C] each
    for buffer, values in zip((model.image_mean, model.image_scale), found, strict=True):
        buffer.copy_(torch.from_numpy(values))


def _some_tokens(run: Preparation) -> Array:
    """Return patch tokens of training images drawn at random: float64 [n, C]."""
    rows = [run.sampler.image_rows(at) for at in range(len(run.caches))]
    patches = token_layout(run.caches[0])[0][0]  # P
    share = min(1.0, TOKENS / (patches * sum(map(len, rows))))
    tokens = []
    for at, (cache, every) in enumerate(zip(run.caches, rows, strict=True)):
        order = np.random.default_rng((run.config.seed, at)).permutation(every)
        some = np.sort(order[: int(np.ceil(share * len(every)))])
        read = cache.tokens(some, view=run.trained_views(at)[0])  # [n, P, C]
        tokens.append(read.reshape(-1, read.shape[-1]))
    return np.concatenate(tokens).astype(np.float64)

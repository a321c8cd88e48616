"""What the training asks of the two towers.

The truth of every scene is known, so for any caption and any image of a batch it is known whether
the caption holds: no pair counts as a negative that is in fact a match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from featcache.backbone.embedded.facts import ATTRIBUTES

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def contrastive(logits: Tensor, truth: Tensor) -> Tensor:
    """Symmetric InfoNCE over captions that surely fail, after Radford et al. 2021.

    Args:
        logits: [B, T], T >= B; caption i belongs to image i, further captions are negatives.
        truth: [B, T]: 1 where a caption holds, 0 where it fails, NaN where that is not sure.
    """
    batch = len(logits)
    itself = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(~(itself | (truth == 0)), float("-inf"))  # [B, T]
    target = torch.arange(batch, device=logits.device)
    per_image = functional.cross_entropy(logits, target)
    per_caption = functional.cross_entropy(logits[:, :batch].T, target)
    return (per_image + per_caption) / 2


def matching(logits: Tensor, truth: Tensor) -> Tensor:
    """Sigmoid loss of all pairs, after Zhai et al. 2023 (SigLIP); matches weigh one half."""
    match, fail = truth == 1, truth == 0
    return (
        functional.softplus(-logits[match]).mean() + functional.softplus(logits[fail]).mean()
    ) / 2


def ordering(similarity: Tensor, values: Tensor) -> Tensor:
    """One minus the correlation of similarity and value, mean over queries.

    Args:
        similarity: [B, Q], cosine of image and query.
        values: [B, Q], what the query orders by; NaN where it is not known.
    """
    known = ~values.isnan()
    count = known.sum(0).clamp(min=1)

    def center(x: Tensor) -> Tensor:
        x = torch.where(known, x, 0.0)
        return torch.where(known, x - x.sum(0) / count, 0.0)

    x, y = center(similarity), center(values)  # [B, Q]
    product = (x * y).sum(0)
    scale = x.square().sum(0).sqrt() * y.square().sum(0).sqrt()
    usable = y.square().sum(0) > 1e-8
    correlation = product / scale.clamp(min=1e-6)
    return (1 - correlation)[usable].mean()


# Columns of the dense target: each attribute value, then each color with each shape.
_SIZES = [len(values) for values in ATTRIBUTES.values()]
_STARTS = dict(zip(ATTRIBUTES, np.cumsum([0, *_SIZES[:-1]]).tolist(), strict=True))
_COLORS, _SHAPES = len(ATTRIBUTES["color"]), len(ATTRIBUTES["shape"])
DENSE = sum(_SIZES) + _COLORS * _SHAPES
_KNOWN_IN_GRAY = np.ones(DENSE, bool)
_KNOWN_IN_GRAY[_STARTS["color"] : _STARTS["color"] + _COLORS] = False
_KNOWN_IN_GRAY[sum(_SIZES) :] = False


def dense_target(
    objects: NDArray[np.int16], has_color: NDArray[np.bool_], size: int, grid: int
) -> NDArray[np.float32]:
    """Count objects around each location of a tower's last map.

    An object is shared out between the four nearest locations, so that the sum over all locations
    is its number.

    Args:
        objects: int16 [B, n, 6]; see `featcache.backbone.embedded.pool.Scenes`.
        has_color: [B]; without colors the columns of colors are NaN.
        size: Width and height of the picture, pixels.
        grid: Width and height of the map.

    Returns:
        float32 [B, grid * grid, DENSE].
    """
    batch, most, _ = objects.shape
    there = objects[..., 0] >= 0  # [B, n]
    place = (objects[..., :2] + 0.5) / size * grid - 0.5  # [B, n, 2], in locations
    place = np.clip(place, 0, grid - 1)
    low = np.minimum(place.astype(int), grid - 2)
    part = place - low
    columns = [objects[..., 2 + i] + start for i, start in enumerate(_STARTS.values())]
    color, shape = (objects[..., 2 + list(ATTRIBUTES).index(name)] for name in ("color", "shape"))
    columns.append(sum(_SIZES) + color * _SHAPES + shape)
    target = np.zeros((batch, grid * grid, DENSE), np.float32)
    image = np.broadcast_to(np.arange(batch)[:, None], (batch, most))
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = low[..., 0] + dx, low[..., 1] + dy
            weight = np.abs(1 - dx - part[..., 0]) * np.abs(1 - dy - part[..., 1])  # [B, n]
            for column in columns:
                np.add.at(
                    target,
                    (image[there], (y * grid + x)[there], column[there]),
                    weight[there].astype(np.float32),
                )
    gray = np.flatnonzero(~has_color)
    target[gray[:, None, None], np.arange(grid * grid)[None, :, None], ~_KNOWN_IN_GRAY] = np.nan
    return target


def counting(predicted: Tensor, target: Tensor) -> Tensor:
    """Squared error of the counts at each location, and of their sums.

    Args:
        predicted: [B, P, K].
        target: [B, P, K]; NaN where it is not known.
    """
    known = ~target.isnan()
    error = torch.where(known, predicted - torch.where(known, target, 0.0), 0.0)  # [B, P, K]
    places = predicted.shape[1]
    local = error.square().sum(2).mean()
    total = error.sum(1).square().sum(1).mean()
    return local + total / (places * places)


# Luma, red less green, yellow less blue, and their squares: typical mean and spread in a patch.
_LIGHT_MEAN = (0.46, 0.0, 0.0, 0.28, 0.02, 0.02)
_LIGHT_SPREAD = (0.24, 0.09, 0.09, 0.24, 0.03, 0.03)
LIGHT = len(_LIGHT_MEAN)


def light_target(pixels: Tensor, grid: int) -> Tensor:
    """Mean light and color around each location, and the means of their squares, standardized.

    Brightness, contrast and colorfulness of the whole picture follow from the means over all
    locations: contrast and colorfulness by a square root of differences, not by a straight line.

    Args:
        pixels: uint8 [B, 3, S, S].
        grid: Width and height of the tower's last map, locations.

    Returns:
        float32 [B, grid * grid, LIGHT].
    """
    red, green, blue = (pixels.float() / 255).unbind(1)  # [B, S, S] each
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    values = torch.stack([luma, red - green, (red + green) / 2 - blue], dim=1)  # [B, 3, S, S]
    maps = functional.adaptive_avg_pool2d(torch.cat([values, values**2], dim=1), grid)
    mean, spread = (maps.new_tensor(numbers) for numbers in (_LIGHT_MEAN, _LIGHT_SPREAD))
    return (maps.flatten(2).transpose(1, 2) - mean) / spread  # [B, P, LIGHT]

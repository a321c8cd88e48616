"""The largest batch that a GPU holds (``--batch-size auto``).

It is found once: a cache keeps it as provenance, and a run that goes on, or lets the cache follow
its data set, takes the same one, as another batch size may change the last bits of features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featcache.errors import BackboneError
from featcache.extraction.rows import encode_views
from featcache.storage.layout import folder_exists
from featcache.storage.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from featcache.backbone import Backbone
    from featcache.extraction.plan import ExtractConfig

# Where memory is not what ends a batch: on a processor larger ones are not quicker
# (docs/benchmarks/extract.md).
ON_PROCESSOR = 32


def settled_batch_size(config: ExtractConfig, out: Path, backbone: Backbone) -> int:
    """Return the batch size that an extraction takes.

    Args:
        config: What was asked for.
        out: The cache's folder. One that is there has settled what ``auto`` is.
        backbone: The frozen model.

    Raises:
        BackboneError: The device does not even hold one image.
    """
    if config.batch_size is not None:
        return config.batch_size
    if folder_exists(out) and (before := Manifest.read(out).provenance.get("batch_size")):
        return int(before)
    if backbone.device.type != "cuda":
        return ON_PROCESSOR
    found = largest_power(lambda size: fits(backbone, size, config.views), config.shard_size)
    if not found:
        raise BackboneError(
            f"{backbone.device} has too little memory free for a single image: see what else runs "
            "there, or give --device cpu"
        )
    return found


def largest_power(possible: Callable[[int], bool], most: int) -> int:
    """Return the largest power of two, up to a bound, that is possible; 0 where none is."""
    size = 0
    while max(2 * size, 1) <= most and possible(max(2 * size, 1)):
        size = max(2 * size, 1)
    return size


def fits(backbone: Backbone, size: int, views: Sequence[str]) -> bool:
    """Whether two batches are on the device at once, as they are during an extraction."""
    import torch

    side = backbone.preprocessing.size
    pixels = np.zeros((size, 3, side, side), np.uint8)  # [B, 3, S, S]
    try:
        held = [encode_views(backbone, pixels, views) for _ in range(2)]
        for tokens, _ in held:
            tokens[-1].sum().item()  # a GPU works behind: wait for it
    except torch.OutOfMemoryError:
        return False
    finally:
        held = []
        if backbone.device.type == "cuda":
            torch.cuda.empty_cache()
    return True

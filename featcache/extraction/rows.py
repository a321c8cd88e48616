"""The features of one shard while they come in: forward passes, one batch behind each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.errors import BackboneError
from featcache.images.preprocess import normalize
from featcache.storage.quantize import quantize
from featcache.storage.shard import ShardContent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from featcache.backbone import Backbone
    from featcache.extraction.batches import Placed
    from featcache.storage.manifest import Manifest
    from featcache.storage.records import SampleRecord


class Rows:
    """The features of one shard while they come in, one batch behind the forward pass."""

    def __init__(self, manifest: Manifest, backbone: Backbone, size: int) -> None:
        shapes, self.views = manifest.shapes, manifest.fingerprint.views
        self.dtype = manifest.fingerprint.dtype
        self.backbone = backbone
        shape = (size, len(self.views), shapes.num_tokens, shapes.token_dim)
        self.tokens = np.empty(shape, self.dtype) if shapes.num_tokens else None
        quantized = self.tokens is not None and self.dtype == "int8"
        self.scales = np.empty(shape[:3], np.float32) if quantized else None
        self.pooled = np.empty((size, len(self.views), shapes.pooled_dim), np.float32)
        self.filled = 0
        self.positions: list[int] = []
        self.pending: tuple[list[int], list[torch.Tensor], list[torch.Tensor]] | None = None

    def add(self, batch: Sequence[Placed]) -> dict[int, str | None]:
        """Start the forward passes of a batch, then `flush` the one before."""
        import torch

        pixels = np.stack([image.pixels for _, image in batch])  # [B, 3, H, W]
        try:
            tokens, pooled = encode_views(self.backbone, pixels, self.views)
        except torch.OutOfMemoryError as error:
            known = self.flush()
            if len(batch) > 1 or self.backbone.preprocessing.one_size:
                raise BackboneError(
                    f"{len(batch)} images at once need more memory than {self.backbone.device} "
                    "has: give a smaller --batch-size"
                ) from error
            _, _, height, width = pixels.shape
            reason = f"{width} x {height} pixels need more memory than {self.backbone.device} has"
            return known | {batch[0].position: reason}
        known = self.flush()
        self.pending = ([position for position, _ in batch], tokens, pooled)
        return known

    def flush(self) -> dict[int, str | None]:
        """Fetch the results that are still on the device.

        Returns:
            For each image, by its position in the shard: None, or why its features are no use.
        """
        if self.pending is None:
            return {}
        positions, tokens, pooled = self.pending
        self.pending = None
        values = np.stack([t.float().cpu().numpy() for t in tokens], axis=1)  # [B, V, P, C]
        vectors = np.stack([p.cpu().numpy() for p in pooled], axis=1)  # [B, V, E]
        limit = np.finfo("float16" if self.dtype == "int8" else self.dtype).max
        largest = np.abs(values).max(axis=(1, 2, 3), initial=0)  # [B]; NaN where any value is
        finite = np.isfinite(vectors).all(axis=(1, 2))  # [B]
        good = (largest <= limit) & finite
        known: dict[int, str | None] = dict.fromkeys(positions)
        for n in np.flatnonzero(~good).tolist():
            known[positions[n]] = (
                f"features are not finite in {self.dtype}: the largest is {largest[n]:g}"
                if finite[n]
                else f"the pooled embedding is not finite in {self.backbone.precision}"
            )
        values, vectors = values[good], vectors[good]
        rows = slice(self.filled, self.filled + len(values))
        if self.tokens is not None:
            if self.scales is not None:
                self.tokens[rows], self.scales[rows] = quantize(values)
            else:
                self.tokens[rows] = values
        self.pooled[rows] = vectors
        self.filled += len(values)
        self.positions += [position for position, reason in known.items() if reason is None]
        return known

    def content(self, records: list[SampleRecord]) -> ShardContent:
        """Return the shard's content, in the order of the images."""
        order = np.argsort(self.positions)  # images of different sizes were done by size
        rows = slice(self.filled) if (np.diff(order) > 0).all() else order
        return ShardContent(
            records=records,
            tokens=None if self.tokens is None else self.tokens[rows],
            pooled=self.pooled[rows],
            scales=None if self.scales is None else self.scales[rows],
        )


def encode_views(
    backbone: Backbone, pixels: np.ndarray[Any, np.dtype[np.uint8]], views: Sequence[str]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Encode uint8 pixels [B, 3, H, W] in each view.

    Returns:
        For each view tokens [B, P, C] and pooled [B, E], float32 on the backbone's device. On a
        GPU the work is queued, not waited for.
    """
    import torch

    images = normalize(
        torch.from_numpy(pixels).to(backbone.device, non_blocking=True), backbone.preprocessing
    )
    tokens, pooled = [], []
    for view in views:
        features = backbone.encode_images(images.flip(-1) if view == "hflip" else images)
        tokens.append(features.tokens)
        pooled.append(features.pooled)
    return tokens, pooled

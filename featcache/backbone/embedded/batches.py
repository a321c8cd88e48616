"""Batches of scenes, captions and queries: batch k is a function of (seed, k)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from featcache.backbone.embedded import losses
from featcache.backbone.embedded.captions import alter, describe, render
from featcache.backbone.embedded.facts import INDEX, hold
from featcache.backbone.embedded.queries import all_queries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from featcache.backbone.embedded.pool import Pool, Scenes
    from featcache.backbone.embedded.queries import Query

_RED = INDEX["red",]  # unknown where a picture has no colors
QUERIES = 32  # per batch


@dataclass(frozen=True)
class Batch:
    """What one step needs.

    Attributes:
        pixels: uint8 [B, 3, S, S].
        texts: T captions, then Q queries: caption i holds for image i, caption B + i is a hard
            negative of image i.
        truth: float32 [B, T]: which caption holds for which image; NaN where that is not sure.
        values: float32 [B, Q]: what each query orders the images by; NaN where it is not known.
        dense: float32 [B, P, K]: counts around each location.
    """

    pixels: Tensor
    texts: list[str]
    truth: Tensor
    values: Tensor
    dense: Tensor


def make_batch(
    pool: Pool, seed: int, step: int, *, size: int, images: int, grid: int, reuse: int
) -> Batch:
    """Make batch ``step``.

    Chunks are used as they come: each scene is seen about ``reuse`` times if training ends when
    the last chunk has come.
    """
    rng = np.random.default_rng([seed, step])
    chunks = 1 + step * images // (pool.chunk * reuse)
    pool.ask(chunks)  # the next one
    scenes = pool.take(rng.integers(0, chunks, images), rng.integers(0, pool.chunk, images))
    pixels, objects = scenes.pixels, scenes.objects.copy()
    mirrored = rng.random(images) < 0.5
    pixels[mirrored] = pixels[mirrored, :, ::-1]
    there = (objects[..., 0] >= 0) & mirrored[:, None]
    objects[..., 0][there] = size - 1 - objects[..., 0][there]
    facts = [describe(rng, row) for row in scenes.truth]
    half = images // 2
    altered = [alter(rng, *pair) for pair in zip(facts[:half], scenes.truth[:half], strict=True)]
    everything = all_queries()
    chosen = [everything[i] for i in rng.integers(0, len(everything), QUERIES)]
    return Batch(
        pixels=torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()),
        texts=[render(rng, some) for some in (*facts, *altered)] + [q.text for q in chosen],
        truth=torch.from_numpy(hold([*facts, *altered], scenes.truth)),
        values=order_values(scenes, chosen),
        dense=torch.from_numpy(
            losses.dense_target(objects, ~np.isnan(scenes.truth[:, _RED]), size, grid)
        ),
    )


def order_values(scenes: Scenes, queries: Sequence[Query]) -> Tensor:
    """What queries order scenes by, float32 [B, Q]; negative where less comes first."""
    columns = [query.feature for query in queries]
    signs = np.array([query.sign for query in queries], np.float32)
    return torch.from_numpy(scenes.truth[:, columns] * signs)

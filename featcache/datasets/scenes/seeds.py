"""Ranges of seeds, one for each use of the scenes; no two share a seed.

A scene follows from (seed, index), so two sets with different seeds share no scene. What the
embedded CLIP was trained on is never in a demo, a miniature, or its own model card.
"""

from __future__ import annotations

from types import MappingProxyType

DEMO = range(1_000_000)
CLIP_TRAINING = range(1_000_000, 2_000_000)
CLIP_TEST = range(2_000_000, 3_000_000)
MINIATURES = range(3_000_000, 4_000_000)

SEEDS = MappingProxyType(
    {
        "demo": DEMO,
        "training of the embedded CLIP": CLIP_TRAINING,
        "model card of the embedded CLIP": CLIP_TEST,
        "miniatures": MINIATURES,
    }
)

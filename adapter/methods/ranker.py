"""Ranking photos without a run: with a fitted method, or with nothing but opposite prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adapter.errors import ConfigError
from adapter.evaluation.rank import extract_folder
from adapter.evaluation.ranking import Ranking, order_by
from adapter.methods.clip_iqa import AntonymScale
from featcache.backbone import BackboneSpec
from featcache.storage.fingerprint import Fingerprint, require_same

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adapter.methods.antonyms import Pair
    from adapter.methods.fitted import Fitted
    from adapter.methods.text import SoftText
    from featcache.reading.cache import Cache


def extract_like(
    fitted: Fitted,
    images: Path,
    out: Path,
    *,
    device: str = "cpu",
    precision: str = "auto",
    **changes: str | None,
) -> Cache:
    """Extract a folder with the backbone that a method was fitted on.

    Args:
        fitted: The method.
        images: A folder of images.
        out: The cache's folder.
        device: Where the backbone runs.
        precision: Of the forward pass.
        **changes: Fields of the backbone that differ here, such as the path of ``pretrained``.

    Raises:
        FingerprintMismatchError: The backbone is another one.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    spec = BackboneSpec.from_dict({**fitted.record["backbone"], **given})
    trained = fitted.fingerprint

    def check(found: Fingerprint) -> None:
        require_same(
            trained, found, f"the fitted method {fitted.folder}", "this backbone", ignore=("views",)
        )

    # An adapter reads the prompt's tokens; the others read none.
    return extract_folder(
        spec,
        images,
        out,
        (fitted.query,),
        like=trained,
        check=check,
        device=device,
        precision=precision,
    )


def title_of(pairs: Sequence[Pair]) -> str:
    """Name a ranking by its pairs of prompts."""
    return ", ".join(f"{high} / {low}" for high, low in pairs)


def rank_by_antonyms(cache: Cache, pairs: Sequence[Pair], text: SoftText) -> Ranking:
    """Rank all images of a cache by the mean score of CLIP-IQA over pairs of opposite prompts.

    Args:
        cache: The features; pooled embeddings are enough.
        pairs: One or more, the high end first.
        text: The text tower of the cache's backbone.

    Returns:
        The ranking; scores are in 0 ... 1.
    """
    if not pairs:
        raise ConfigError("give --antonyms HIGH LOW, or --attribute NAME")
    prompts = text.encode([prompt for pair in pairs for prompt in pair]).cpu().numpy()
    scale = AntonymScale.of(prompts, text.logit_scale, (0.0, 1.0))
    pooled = cache.pooled(np.arange(len(cache))).astype(np.float64)  # [n, E]
    return order_by(cache, title_of(pairs), scale.scores(pooled))

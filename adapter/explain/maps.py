"""Why a photo stands where it stands: shares of its patches, as numbers between -1 and 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from adapter.errors import ConfigError
from adapter.explain.patches import grid_side, pair_shares, relation_map, score_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter.stored import StoredRun
    from featcache.reading.cache import Cache


def explain(
    run: StoredRun, cache: Cache, text: str, first: int, second: int | None = None
) -> dict[str, Any]:
    """Explain a photo's place, or why one of two photos stands above the other.

    Args:
        run: The run.
        cache: Holds tokens of the photos and of the sentence.
        text: The sentence.
        first: Row of the photo.
        second: Row of another one.

    Returns:
        ``side`` of the patch grid, and maps of side² numbers: ``score``, ``looked`` of one photo;
        ``first`` and ``second`` of two, with the ``logit``. Maps are divided by their largest size.

    Raises:
        ConfigError: The adapter or the cache has nothing to show.
    """
    for row in (first, second or 0):
        if not 0 <= row < len(cache):
            raise ConfigError(f"there is no photo {row}")
    if not cache.shapes.num_tokens:
        raise ConfigError("the cache holds no patch tokens, so there is no map")
    side = grid_side(cache.shapes.num_tokens)
    if side is None:
        raise ConfigError("the patches of this backbone form no square grid, so there is no map")
    model = run.model.cpu().eval()
    words = torch.from_numpy(np.array(cache.prompt(text).tokens)).float()
    rows = np.array([first] if second is None else [first, second])
    tokens = torch.from_numpy(np.ascontiguousarray(cache.tokens(rows, view=cache.views[0]))).float()
    if second is not None:
        pair = pair_shares(model, tokens[0], tokens[1], words)
        size = max(float(np.abs(pair.first).max()), float(np.abs(pair.second).max())) or 1.0
        return {
            "side": side,
            "first": (pair.first / size).tolist(),
            "second": (pair.second / size).tolist(),
            "logit": pair.logit,
        }
    looked = relation_map(model, tokens[0], words)
    score = score_shares(model, tokens[0], words) if model.config.score_head else None
    if looked is None and score is None:
        raise ConfigError("this adapter has neither a regression head nor relational tokens")
    return {
        "side": side,
        "score": None if score is None else _unit(score),
        "looked": None if looked is None else _unit(looked),
    }


def _unit(values: NDArray[np.float32]) -> list[float]:
    size = float(np.abs(values).max()) or 1.0
    return [float(v) for v in values / size]

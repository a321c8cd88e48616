"""How raters spread over their levels, where a data set's labels say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter.data.labels import FeatureCache

pc: Any = pyarrow.compute  # its stubs take no plain values


def distributions_of(
    cache: FeatureCache, task: str, query: str, rows: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Return the rating distributions of a query's labels.

    Args:
        cache: Where the labels are.
        task: Of the labels.
        query: Of the labels.
        rows: int64 [n], images.

    Returns:
        float64 [n, L], shares of L levels from the lowest to the highest, rows sum to 1. None
        where an image has no distribution, or where they do not have the same levels.
    """
    labels = cache.labels
    chosen = labels.filter(
        pc.and_(pc.equal(labels["query"], query), pc.equal(labels["task"], task))
    )
    shares = chosen["distribution"]
    if len(rows) == 0 or shares.null_count == len(shares):
        return None
    image = cache.rows(chosen["sample_id"])  # [m], -1 for images without features
    there = np.flatnonzero(image >= 0)
    label = np.full(len(cache), -1, np.int64)
    label[image[there]] = there  # an image has one value, whatever the split and the fold
    if (label[rows] < 0).any():  # zeros of counts that nobody rated
        return None
    found: Any = pa.concat_arrays(shares.chunks).take(label[rows])
    levels = pc.list_value_length(found)
    if found.null_count or pc.min_max(levels)["min"] != pc.min_max(levels)["max"]:
        return None
    table = np.asarray(found.flatten(), np.float64).reshape(len(rows), -1)  # [n, L]
    total = table.sum(axis=1, keepdims=True)
    return table / total if (total > 0).all() else None

"""Other splits than a data set's own: drawn anew from all of its labeled images, by number.

For studies that need several splits of a set which is published with one, or training parts of
several sizes. Split k is a function of k: the test part is the same for every size of the training
part, and a smaller training part lies within each larger one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from adapter.errors import LabelsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter.reproduction.recipe import Resplit
    from featcache.reading.cache import Cache

pc: Any = pyarrow.compute


class ResplitCache:
    """A cache with other labels: those of one query, split anew; all else is the cache's."""

    def __init__(self, cache: Cache, labels: pa.Table) -> None:
        self._cache = cache
        self.labels = self.coded_labels = labels

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def __len__(self) -> int:
        return len(self._cache)


def resplit(cache: Cache, task: str, query: str, plan: Resplit, number: int) -> ResplitCache:
    """Return a cache whose labels of one query are split anew.

    Args:
        cache: Where features and labels are.
        task: The labels' task.
        query: The labels' query.
        plan: The sizes.
        number: Which split; it is the fold of the labels that are returned.

    Raises:
        LabelsError: There are not that many images.
    """
    table = cache.labels
    chosen = table.filter(pc.and_(pc.equal(table["task"], task), pc.equal(table["query"], query)))
    there = cache.rows(chosen["sample_id"]) >= 0  # images without features are on no side
    chosen = chosen.filter(pa.array(there))
    images = np.array(sorted(set(map(str, chosen["sample_id"].to_pylist()))))
    wanted = plan.test + (1 if plan.train is None else plan.train)
    if len(images) < wanted:
        raise LabelsError(f"{query!r}: {wanted} images are to be split, {len(images)} are labeled")
    generator = np.random.Generator(np.random.Philox(key=number))
    shuffled: NDArray[Any] = images[generator.permutation(len(images))]
    end = len(shuffled) if plan.train is None else plan.test + plan.train
    side = dict.fromkeys(shuffled[: plan.test].tolist(), "test")
    side |= dict.fromkeys(shuffled[plan.test : end].tolist(), "train")
    # An image may be labeled once for each of the published folds: one row is enough.
    first: dict[str, int] = {}
    for at, name in enumerate(map(str, chosen["sample_id"].to_pylist())):
        if name in side:
            first.setdefault(name, at)
    labels = chosen.take(list(first.values()))
    for column, values in {
        "split": pa.array([side[name] for name in first], chosen.schema.field("split").type),
        "fold": pa.array([number] * len(first), chosen.schema.field("fold").type),
    }.items():
        at = labels.schema.get_field_index(column)
        labels = labels.set_column(at, chosen.schema.field(column), values)
    return ResplitCache(cache, labels)

"""A map-style torch data set over a cache, for a training loop of your own.

    from torch.utils.data import DataLoader
    from featcache.torch import CacheDataset

    data = CacheDataset("cache/ava", query="sort images by the aesthetics.", split="train")
    for batch in DataLoader(data, batch_size=64, shuffle=True, num_workers=2):
        batch["tokens"]  # float16 [64, P, C]
        batch["value"]  # float32 [64]

A batch is gathered at once, also inside a worker, and torch's samplers work as with any data set:
``shuffle``, ``WeightedRandomSampler``, ``DistributedSampler``. ``adapter train`` does not use this
module; it draws its batches itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.utils.data import Dataset

from featcache.datasets.columns import folds_of, kept
from featcache.datasets.records import LARGEST_VALUE
from featcache.errors import ConfigError
from featcache.reading.cache import Cache
from featcache.reading.labels import (
    first_contradiction,
    first_unusable,
    in_fold,
    numbered_folds,
    starts,
)
from featcache.storage.tables import ok_samples
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Item(TypedDict):
    """One image and its label.

    Attributes:
        tokens: Patch tokens [P, C] in the stored dtype; float16 where they are stored as int8.
        value: The label in the data set's unit, float32, without dimensions.
        row: The image's row in the cache.
        path: The image's path, relative to the data set's root.
    """

    tokens: torch.Tensor
    value: torch.Tensor
    row: int
    path: str


class CacheDataset(Dataset[Item]):
    """The labeled images of one query, in the order of the cache.

    Attributes:
        cache: Where the features are.
        query: The prompt whose labels these are.
        view: Name of the view that is read.
        rows: int64 [n], the images, each once.
        values: float32 [n], their labels.
        paths: Their paths, relative to the data set's root: a column of texts [n].
        left_out: How many chosen labels belong to images without features.
    """

    def __init__(
        self,
        cache: Cache | str | Path,
        *,
        query: str,
        split: str | Sequence[str] = "train",
        fold: int | None = None,
        task: str | None = None,
        view: str = "original",
    ) -> None:
        """Choose labels; no feature is read yet.

        Args:
            cache: A cache, or its path.
            query: The prompt of the labels.
            split: One or several of ``train``, ``val``, ``test``, ``all``.
            fold: Which of the data set's folds; may be left out where there is at most one.
            task: Needed only where several tasks have labels for the query.
            view: Which view to read.

        Raises:
            ConfigError: The cache has no such labels or view, or a fold or a task must be named,
                or one image has two values.
            CacheNotFoundError: There is no finished cache at the path.
        """
        self.cache = Cache.open(cache) if isinstance(cache, (str, Path)) else cache
        if view not in self.cache.views:
            raise ConfigError(
                f"{self.cache.path} has no view {view!r}; it has {', '.join(self.cache.views)}"
            )
        self.query = query
        self.view = view
        splits = (split,) if isinstance(split, str) else tuple(split)
        labels = _choose(self.cache, query, splits, fold, task)
        rows = self.cache.rows(labels["sample_id"])
        values = labels["value"].to_numpy().astype(np.float64)
        self.left_out = int(np.count_nonzero(rows < 0))
        self.rows, values = _once(rows[rows >= 0], values[rows >= 0], f"{query!r}")
        self.values: NDArray[np.float32] = values.astype(np.float32)
        images = ok_samples(self.cache.read_samples("path", "status"))
        self.paths: pa.ChunkedArray[Any] = images["path"].take(self.rows)

    def __len__(self) -> int:
        """Return the number of labeled images."""
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        """Read one item."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Read the items of a batch in one gather; torch's ``DataLoader`` calls this."""
        chosen = np.asarray(indices, np.int64)
        tokens = torch.from_numpy(self.cache.tokens(self.rows[chosen], self.view))  # (n, P, C)
        values = torch.from_numpy(self.values[chosen])  # (n,)
        return [
            Item(tokens=token, value=value, row=int(self.rows[at]), path=str(self.paths[at]))
            for token, value, at in zip(tokens, values, chosen.tolist(), strict=True)
        ]

    def __repr__(self) -> str:
        """Say what it is."""
        images = quantity(len(self), "image")
        return f"CacheDataset({images} of {self.cache.path}, query {self.query!r})"


def _choose(
    cache: Cache, query: str, splits: tuple[str, ...], fold: int | None, task: str | None
) -> pa.Table:
    """Return the label rows of a query, splits, a fold and a task."""
    table = _where(cache, cache.coded_labels, "query", [query])
    if task is None and len(tasks := _names(table, "task")) > 1:
        raise ConfigError(
            f"{cache.path}: several tasks have labels for {query!r}; choose a task: "
            f"{', '.join(tasks)}"
        )
    table = _where(cache, table, "task", _names(table, "task") if task is None else [task])
    table = _where(cache, table, "split", splits)
    folds = folds_of(table)
    there = numbered_folds(folds)
    if fold is None and len(there) > 1:
        raise ConfigError(
            f"{cache.path}: the labels have folds {', '.join(map(str, there))}; choose one"
        )
    if fold is not None and there and fold not in there:
        raise ConfigError(
            f"{cache.path}: there is no fold {fold}; there are {', '.join(map(str, there))}"
        )
    return kept(table, in_fold(folds, there[0] if there and fold is None else fold))


def _where(cache: Cache, table: pa.Table, column: str, names: Sequence[str]) -> pa.Table:
    """Keep the rows with one of the names; refuse a name that there is not."""
    there = _names(table, column)
    for name in names:
        if name not in there:
            shown = ", ".join(there[:20]) + (", …" if len(there) > 20 else "")
            raise ConfigError(
                f"{cache.path}: no label has the {column} {name!r}; there are: {shown or 'none'}"
            )
    return table.filter(pc.field(column).isin(list(names)))


def _names(table: pa.Table, column: str) -> list[str]:
    return sorted(str(name) for name in table[column].unique().to_pylist())


def _once(
    rows: NDArray[np.int64], values: NDArray[np.float64], what: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sort by row, and drop labels that are repeated."""
    if (bad := first_unusable(values)) is not None:
        raise ConfigError(
            f"query {what}: the value {values[bad]:g} is not a number up to {LARGEST_VALUE:g}"
        )
    order = np.argsort(rows, kind="stable")
    rows, values = rows[order], values[order]
    if (bad := first_contradiction(rows, values)) is not None:
        raise ConfigError(
            f"query {what}: the image in row {rows[bad]} has two values, {values[bad]:g} and "
            f"{values[bad + 1]:g}; choose one split or task"
        )
    once = starts(rows)
    return rows[once], values[once]

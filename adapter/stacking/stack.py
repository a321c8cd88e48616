"""A stack: per trained query a regression on frozen features, and how much it is believed.

    value = offset + w_adapter * adapter + w_line * regression,    both weights >= 0

The regression is a straight line plus smooth curves. Queries that were never trained have none: it
needs labels of the query, so the adapter ranks them alone. Only numbers are kept: ``stack.json``
and ``stack.safetensors``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from adapter.errors import CheckpointError
from adapter.record import read_document
from adapter.stacking.curve import Landmarks
from featcache.storage.durable import make_folders, write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from adapter.data.labels import FeatureCache

Array = NDArray[np.float64]

STACK = "stack.json"
LINES = "stack.safetensors"
FORMAT = 1
CHUNK = 256  # images whose tokens are in memory at a time
BLOCK = 4096  # images whose vectors are in memory at a time


@dataclass(frozen=True, kw_only=True)
class StackedQuery:
    """One trained query.

    Attributes:
        cache: Number of the cache in the run.
        task: Its task, whose unit all values are in.
        query: The prompt.
        line: float64 [E + C], weights of the pooled embedding and of the mean patch token.
        intercept: Of the regression.
        adapter_weight: Of the adapter's score; not negative.
        line_weight: Of the regression's value; not negative.
        offset: Added to both.
        images: Images that regression and weights were fitted to.
        errors: Root mean square errors on images that were left out: ``adapter`` (of an adapter
            with fewer steps and images), ``line`` (the regression) and ``stack``.
        landmarks: Where the bells of each curve stand; the queries of a cache share them.
        curves: float64 [m] each, what each bell adds. None of both in older runs.
    """

    cache: int
    task: str
    query: str
    line: Array
    intercept: float
    adapter_weight: float
    line_weight: float
    offset: float
    images: int
    errors: Mapping[str, float]
    landmarks: tuple[Landmarks, ...] = ()
    curves: tuple[Array, ...] = ()

    def regress(self, cache: FeatureCache, rows: NDArray[np.int64], views: Sequence[str]) -> Array:
        """Values of the regression [n], averaged over views."""
        values = np.full(len(rows), self.intercept)
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            for view in views:
                vectors = image_vectors(cache, rows[block], view)  # [b, E + C]
                values[block] += self._value(vectors) / len(views)
        return values

    def _value(self, vectors: Array) -> Array:
        """Line and curves without the intercept, of vectors [b, E + C]: [b]."""
        value = vectors @ self.line
        for landmarks, heights in zip(self.landmarks, self.curves, strict=True):
            value += landmarks.kernel(vectors) @ heights
        return np.asarray(value, np.float64)

    def combine(self, adapter: Array, regression: Array) -> Array:
        """Weigh the adapter's scores and the regression's values [n], both in the task's unit."""
        return self.offset + self.adapter_weight * adapter + self.line_weight * regression

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; numbers of the regression are in the file of arrays."""
        values = {k: v for k, v in vars(self).items() if k not in ("line", "landmarks", "curves")}
        return values | {"errors": dict(self.errors)}


@dataclass(frozen=True, kw_only=True)
class Stack:
    """All trained queries of a run."""

    queries: tuple[StackedQuery, ...]

    def find(
        self, query: str, task: str | None = None, cache: int | None = None
    ) -> StackedQuery | None:
        """Return what belongs to a query; None where it was not trained, or is not certain.

        Args:
            query: The prompt.
            task: Its task, where it is known.
            cache: Number of the cache in the run; None for any other cache. Then a query that
                several caches share, each with its own line, has no single one.
        """
        found = [q for q in self.queries if q.query == query and task in (None, q.task)]
        here = [q for q in found if q.cache == cache]
        chosen = here or found
        return chosen[0] if len(chosen) == 1 else None

    def save(self, folder: Path) -> None:
        """Write both files, each whole or not at all; the one that names the other comes last."""
        make_folders(folder)
        arrays = {str(at): q.line for at, q in enumerate(self.queries)}
        for at, q in enumerate(self.queries):
            arrays |= {f"{at}/curve/{k}": heights for k, heights in enumerate(q.curves)}
        for cache, kinds in {q.cache: q.landmarks for q in self.queries}.items():
            for k, landmarks in enumerate(kinds):
                named = landmarks.to_arrays().items()
                arrays |= {f"landmarks/{cache}/{k}/{name}": array for name, array in named}
        write_bytes(folder / LINES, save(arrays))
        values = [q.to_dict() for q in self.queries]
        write_json(folder / STACK, {"format": FORMAT, "queries": values})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            CheckpointNotFoundError: There is none.
            CheckpointError: A file is damaged, or the two do not belong together.
        """
        advice = "`adapter train --preset best` makes one"
        record = read_document(folder / STACK, FORMAT, "stack", advice)
        try:
            arrays = load_file(folder / LINES)
            landmarks = _load_landmarks(arrays)
            queries = []
            for at, value in enumerate(record["queries"]):
                here = landmarks.get(value["cache"], ())
                curves = tuple(arrays[f"{at}/curve/{k}"] for k in range(len(here)))
                queries.append(
                    StackedQuery(**value, line=arrays[str(at)], landmarks=here, curves=curves)
                )
        except (SafetensorError, OSError, KeyError, TypeError) as error:
            raise CheckpointError(f"{folder / LINES}: cannot be read ({error})") from error
        return cls(queries=tuple(queries))


def _load_landmarks(arrays: Mapping[str, NDArray[Any]]) -> dict[int, tuple[Landmarks, ...]]:
    """Return the landmarks of each cache, by its number in the run."""
    parts: dict[tuple[int, int], dict[str, NDArray[Any]]] = {}
    for key, array in arrays.items():
        if key.startswith("landmarks/"):
            _, cache, number, name = key.split("/")
            parts.setdefault((int(cache), int(number)), {})[name] = array
    found: dict[int, tuple[Landmarks, ...]] = {}
    for (cache_number, _), values in sorted(parts.items()):
        found[cache_number] = (*found.get(cache_number, ()), Landmarks.from_arrays(values))
    return found


def image_vectors(cache: FeatureCache, rows: NDArray[np.int64], view: str) -> Array:
    """Return pooled embedding and mean patch token of each image: float64 [n, E + C]."""
    pooled = cache.pooled(rows, view=view)  # [n, E]
    starts = range(0, len(rows), CHUNK)
    chunks = [cache.tokens(rows[start : start + CHUNK], view=view) for start in starts]
    means = [chunk.mean(axis=1, dtype=np.float32) for chunk in chunks]  # [b, C] each
    return np.concatenate([pooled, np.concatenate(means)], axis=1).astype(np.float64)

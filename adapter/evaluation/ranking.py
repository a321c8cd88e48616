"""What a ranking is: images of a cache in an order, whoever made it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from adapter.errors import ConfigError
from featcache.storage.tables import ok_samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from featcache.reading.cache import Cache


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Images of a cache in the order of a query, highest first.

    Attributes:
        query: The prompt.
        paths: Of the images [n], below the data set's folder.
        scores: float64 [n], falling; in the labels' unit when ranked by score.
        failed: Path to reason, of the images that could not be read.
        rows: int64 [n], of the images in the cache.
    """

    query: str
    paths: tuple[str, ...]
    scores: NDArray[np.float64]
    failed: Mapping[str, str]
    rows: NDArray[np.int64]

    @property
    def by_row(self) -> NDArray[np.float64]:
        """The scores in the order of the cache's rows, float64 [n]."""
        scores = np.empty_like(self.scores)
        scores[self.rows] = self.scores
        return scores

    def first(self, count: int | None) -> Ranking:
        """Return the first places alone; all when ``count`` is None."""
        return replace(
            self,
            paths=self.paths[:count],
            scores=self.scores[:count],
            rows=self.rows[:count],
        )

    def __iter__(self) -> Iterator[tuple[str, float]]:
        """Yield path and score, highest first."""
        return iter(zip(self.paths, self.scores.tolist(), strict=True))


def require_images(cache: Cache) -> None:
    """Refuse a cache of which no image could be read; raises ConfigError."""
    if not len(cache):
        raise ConfigError(
            f"{cache.path} holds no image that could be read, so there is nothing to rank; "
            f"`featcache info {cache.path} --failures` lists the reasons"
        )


def order_by(cache: Cache, query: str, scores: NDArray[np.float64]) -> Ranking:
    """Put the images of a cache in the order of their scores float64 [n], highest first."""
    order = np.argsort(-scores, kind="stable")
    samples = cache.read_samples("path", "status", "error")
    paths = [str(path) for path in ok_samples(samples)["path"].take(order).to_pylist()]
    failed = samples.filter(pc.field("status") != "ok").select(["path", "error"])
    return Ranking(
        query=query,
        paths=tuple(paths),
        scores=scores[order],
        failed={
            str(path): str(reason)
            for path, reason in zip(
                failed["path"].to_pylist(), failed["error"].to_pylist(), strict=True
            )
        },
        rows=order.astype(np.int64),
    )

"""From an order as the page asks for it to rows: filters, near-duplicates, places."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.evaluation.wishes import percentiles
from adapter.takeaway.table import OrderTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter.serve.engine import Engine
    from adapter.serve.library import Library
    from adapter.serve.marks import MarkBook
    from adapter.serve.requests import Order


@dataclass(frozen=True, kw_only=True)
class View:
    """An order of photos.

    Attributes:
        rows: int64 [n], the photos that are shown, the best first.
        sizes: int64 [n], how many near-duplicates each stands for, itself included.
        scores: float64 [N], of all photos.
        shares: float64 [K, N], what each wish adds.
        place: int64 [N], from 1, among all photos.
        percentile: float64 [N], 0 to 100.
    """

    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]
    scores: NDArray[np.float64]
    shares: NDArray[np.float64]
    place: NDArray[np.int64]
    percentile: NDArray[np.float64]


class Views:
    """Makes views."""

    def __init__(self, library: Library, engine: Engine, marks: MarkBook) -> None:
        self._library, self._engine, self._marks = library, engine, marks
        self._groups = lru_cache(maxsize=8)(library.duplicates)

    def make(self, order: Order) -> View:
        """Return the order of all photos, and those that the filters leave."""
        count = len(self._library)
        scores, shares = self._engine.order([(w.wish, w.weight) for w in order.weights], order.form)
        ranked = np.argsort(-scores, kind="stable")
        place = np.empty(count, np.int64)
        place[ranked] = np.arange(1, count + 1)
        percentile = 100 * percentiles(scores)
        keep = self._filtered(order, percentile)
        rows, sizes = ranked[keep[ranked]], np.ones(0, np.int64)
        if order.fold is None:
            sizes = np.ones(len(rows), np.int64)
        else:
            group = self._groups(order.fold, across=order.across)[rows]
            _, first, counts = np.unique(group, return_index=True, return_counts=True)
            best = np.argsort(first)
            rows, sizes = rows[first[best]], counts[best]
        return View(
            rows=rows,
            sizes=sizes,
            scores=scores,
            shares=shares,
            place=place,
            percentile=percentile,
        )

    def _filtered(self, order: Order, percentile: NDArray[np.float64]) -> NDArray[np.bool_]:
        library = self._library
        keep = percentile >= order.least
        if order.folder is not None:
            keep &= library.folder_of == order.folder
        if order.after is not None:
            keep &= library.times >= order.after
        if order.before is not None:
            keep &= library.times < order.before
        if order.stars or order.flag != "any":
            marks = [self._marks.of(sample) for sample in library.samples]
            keep &= np.array([mark.stars >= order.stars for mark in marks])
            if order.flag != "any":
                keep &= np.array([mark.flag == order.flag for mark in marks])
        found: NDArray[np.bool_] = keep
        return found

    def table(self, order: Order, top: int | None) -> OrderTable:
        """Return the order as a table: what each wish adds, percentile, stars and flag."""
        view = self.make(order)
        rows = view.rows[:top]
        marks = [self._marks.of(self._library.samples[row]) for row in rows.tolist()]
        wishes = [self._engine.wishes[w.wish] for w in order.weights if w.weight]
        return OrderTable(
            paths=[self._library.paths[row] for row in rows.tolist()],
            scores=view.scores[rows].tolist(),
            more={
                "percentile": view.percentile[rows].tolist(),
                "stars": [mark.stars for mark in marks],
                "flag": [mark.flag for mark in marks],
                **{
                    f"share of {wish.title}": view.shares[k, rows].tolist()
                    for k, wish in enumerate(wishes)
                },
            },
        )

    def details(self, rows: list[int], order: Order) -> list[dict[str, Any]]:
        """Return what is shown under photos."""
        view = self.make(order)
        wishes = [self._engine.wishes[w.wish] for w in order.weights if w.weight]
        found = []
        for row in rows:
            if not 0 <= row < len(self._library):
                continue
            parts = [
                {
                    "wish": wish.text,
                    "share": float(view.shares[k, row]),
                    "score": None if wish.scores is None else float(wish.scores[row]),
                    "unit": wish.unit,
                    "percentile": 100 * float(wish.prepared["percentile"][row]),
                }
                for k, wish in enumerate(wishes)
            ]
            found.append(
                {
                    "row": row,
                    "path": self._library.paths[row],
                    "place": int(view.place[row]),
                    "score": float(view.scores[row]),
                    "percentile": float(view.percentile[row]),
                    "wishes": parts,
                    **self._marks.of(self._library.samples[row]).to_dict(),
                }
            )
        return found

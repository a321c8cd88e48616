"""Figures of rankings: truth above and prediction below, relevance, unseen categories, wishes."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute

from adapter.evaluation.metrics import srcc
from adapter.evaluation.wishes import combine, prepare
from adapter.figures.elements import Section, Strip, at_equal_steps, largest, short
from adapter.pages.page import Cell, Table
from adapter.pages.plot import Series, plot
from featcache.wording import quantity

if TYPE_CHECKING:
    from adapter.figures.elements import Materials
    from adapter.methods.method import Array, Rows
    from adapter.reproduction.cells import QueryResult
    from adapter.reproduction.data import TaskData
    from adapter.reproduction.figure import Categories, Relevance, Strips, Wishes

pc: Any = pyarrow.compute

FAILS = 0.2  # an SRCC below is a ranking that says little
REASONS = 3  # categories that a category came with


def strips(kind: Strips, materials: Materials) -> list[Section]:
    """Show images in the order of their labels and, below, in the predicted one."""
    sections = []
    for key in kind.tasks:
        data = materials.tasks[key]
        for query in largest(materials.queries(key, kind.row), kind.most):
            keep = query.values >= 1 if data.task.counts else np.ones(len(query.rows), bool)
            rows, y, p = query.rows[keep], query.values[keep], query.predictions[keep]
            orders = {"ground truth": y, "prediction": p}
            sections.append(
                Section(
                    title=f"{data.task.title}: {query.query}",
                    text=f"{quantity(len(rows), 'test image')}, SRCC {_number(srcc(y, p))}; "
                    "lowest on the "
                    "left, at equal steps. Below each: its label, and what was predicted.",
                    strips=[
                        Strip(
                            title=title,
                            tiles=[
                                materials.pictures.tile(data, rows[n], short(y[n]), short(p[n]))
                                for n in at_equal_steps(_order(by), kind.count)
                            ],
                        )
                        for title, by in orders.items()
                    ],
                )
            )
    return sections


def relevance(kind: Relevance, materials: Materials) -> list[Section]:
    """Show images in the order of their distance to a count, nearest first."""
    data = materials.tasks[kind.task]
    sections = []
    for query in largest(materials.queries(kind.task, kind.row), kind.most):
        found = []
        for reference in kind.references:
            true, distance = (np.abs(v - reference) for v in (query.values, query.predictions))
            found.append(
                Strip(
                    title=f"by the relevance to {reference} (SRCC {_number(srcc(true, distance))})",
                    tiles=[
                        materials.pictures.tile(
                            data, query.rows[n], short(query.values[n]), short(query.predictions[n])
                        )
                        for n in at_equal_steps(_order(distance), kind.count)
                    ],
                )
            )
        sections.append(
            Section(
                title=query.query,
                text="Most relevant on the left. Below each: its count, and what was predicted.",
                strips=found,
            )
        )
    return sections


def categories(kind: Categories, materials: Materials) -> list[Section]:
    """List the SRCC of categories that were never learned, worst first, and why they may fail."""
    learned, tested = materials.tasks[kind.learned], materials.tasks[kind.tested]
    known = {parts.query for parts in learned.parts(learned.task.folds[0])}
    found: list[tuple[float, int, QueryResult]] = []
    for query in materials.queries(kind.tested, kind.row):
        keep = query.values >= 1
        new = query.query not in known and _category(query.query) not in kind.same
        if new and keep.sum() >= kind.least:
            value = srcc(query.values[keep], query.predictions[keep])
            if not math.isnan(value):
                found.append((value, int(keep.sum()), query))
    found.sort(key=lambda one: one[0])
    rows = [
        (
            _category(query.query),
            [
                Cell(text=_number(value), best=False),
                Cell(text=str(count), best=False),
                Cell(text="fails" if value < FAILS else "", best=False),
                Cell(text=companions(learned, tested, query.query), best=False),
            ],
        )
        for value, count, query in found
    ]
    mean = float(np.mean([value for value, _, _ in found])) if found else math.nan
    return [
        Section(
            title=f"{len(found)} categories that {learned.task.title} does not have",
            text=f"Mean SRCC {_number(mean)} over test images with a count from one on; below "
            f"{FAILS} it is said to fail. Last column: what the category came with in images that "
            f"{learned.task.title} has labels of.",
            table=Table(columns=["category", "SRCC", "images", "", "came with"], rows=rows),
        )
    ]


def companions(learned: TaskData, tested: TaskData, query: str) -> str:
    """Say which learned categories stand in the training images that hold a category."""
    table = tested.source.cache.labels
    holds = table.filter(pc.and_(pc.equal(table["query"], query), pc.greater(table["value"], 0)))
    cache = learned.source.cache
    rows = cache.rows(holds["sample_id"])
    images = {int(row) for row in rows if row >= 0}
    counts: Counter[str] = Counter()
    seen: set[int] = set()
    for parts in learned.parts(learned.task.folds[0]):
        inside = [int(r) for r in parts.train.rows[parts.train.values > 0] if int(r) in images]
        counts[_category(parts.query)] += len(inside)
        seen.update(inside)
    if not seen:
        return "in no training image"
    named = [
        f"{name} {100 * count / len(seen):.0f} %"
        for name, count in counts.most_common(REASONS)
        if count
    ]
    return f"{', '.join(named)} (of {quantity(len(seen), 'image')})"


def wishes(kind: Wishes, materials: Materials) -> list[Section]:
    """Show two scores of the same images, and who fits both best and least."""
    data = materials.tasks[kind.tasks[0]]
    both = [materials.queries(key, kind.row)[0] for key in kind.tasks]
    titles = [materials.tasks[key].task.title for key in kind.tasks]
    rows, places = (
        np.intersect1d(both[0].rows, both[1].rows, return_indices=True)[0],
        [np.searchsorted(q.rows, np.intersect1d(both[0].rows, both[1].rows)) for q in both],
    )
    scores = [q.predictions[place] for q, place in zip(both, places, strict=True)]
    scaled = prepare(scores, "product")  # [2, n], 0 ... 1
    found = []
    for title, weights in {
        "both alike, multiplied": (1.0, 1.0),
        f"weights {kind.weights[0]:g} and {kind.weights[1]:g}": kind.weights,
    }.items():
        combined = combine(scaled, weights, "product").scores
        order = _order(-combined)
        for name, chosen in (
            ("best", order[: kind.count]),
            ("least", order[::-1][: kind.count]),
        ):
            found.append(
                Strip(
                    title=f"{name}: {title}",
                    tiles=[
                        materials.pictures.tile(
                            data, rows[n], short(scaled[0, n]), short(scaled[1, n])
                        )
                        for n in chosen
                    ],
                )
            )
    drawn = plot([Series(name="", x=scaled[0], y=scaled[1])], x_label=titles[0], y_label=titles[1])
    return [
        Section(
            title=f"{titles[0]} and {titles[1]}",
            text=f"{quantity(len(rows), 'test image')}; both scores scaled to 0 ... 1, and "
            "written below.",
            plots=[drawn],
            strips=found,
        )
    ]


def _order(values: Array) -> Rows:
    return np.argsort(values, kind="stable").astype(np.int64)


def _category(query: str) -> str:
    return query.removeprefix("sort images by the number of ").rstrip(".")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}".replace("-", "−")

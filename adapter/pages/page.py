"""The pages: a run's report, and a ranked gallery. Plain HTML and CSS, nothing from outside.

What stands on a page is chosen here; how it stands there is in ``templates``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.evaluation.titles import TITLES
from adapter.pages.render import render
from adapter.pages.scatter import scatter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup
    from numpy.typing import NDArray

    from adapter.evaluation.metrics import Metrics
    from adapter.pages.thumbnails import Thumbnails

SHOWN = 16  # images of a query that are shown before its list is opened


@dataclass(frozen=True, kw_only=True)
class QueryReport:
    """One query: the images in it, their labels and scores, and every method's metrics.

    Attributes:
        folder: Number of the cache, and of the folder that its pictures come from.
        dataset: Name of the data set.
        task: The query's task.
        query: The prompt.
        paths: Of the images [n].
        values: Labels, float64 [n].
        scores: Predictions, float64 [n].
        same_unit: Whether predictions are in the labels' unit.
        metrics: Method to metrics; the first method is the one whose predictions are shown.
        compared: Whether it is in the means; a query that was not trained, or that a method
            lacks, is not.
    """

    folder: int
    dataset: str
    task: str
    query: str
    paths: Sequence[str]
    values: NDArray[np.float64]
    scores: NDArray[np.float64]
    same_unit: bool
    metrics: Mapping[str, Metrics]
    compared: bool = True


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A number in a table, and whether it is the best of its column or row."""

    text: str
    best: bool


@dataclass(frozen=True, kw_only=True)
class Table:
    """Names of columns, and rows of numbers: of a method, or of a query."""

    columns: Sequence[str]
    rows: Sequence[tuple[Any, Sequence[Cell]]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """What a report shows of a query.

    Attributes:
        id: Where links lead.
        query: The query.
        metrics: Its metrics, a row per method.
        plot: Predicted over true values.
        first: The method whose predictions are shown.
        few: Numbers of the images shown at once, highest prediction first.
        long: Those of the list that can be opened.
    """

    id: str
    query: QueryReport
    metrics: Table
    plot: Markup
    first: str
    few: Sequence[int]
    long: Sequence[int]


def report_page(
    title: str,
    lead: str,
    queries: Sequence[QueryReport],
    means: Mapping[str, Metrics],
    made_of: Mapping[str, str],
    thumbnails: Thumbnails,
    max_images: int = 400,
) -> str:
    """Return a run's report: means, a section per query, and what made it.

    Args:
        title: Heading.
        lead: A sentence below it.
        queries: One section each.
        means: Method to metrics, averaged over queries.
        made_of: Facts to list at the end.
        thumbnails: Pictures of the images.
        max_images: Images per query in the long list, spread evenly over the ranking.
    """
    sections = [_section(number, query, max_images) for number, query in enumerate(queries)]
    return render(
        "report.html.j2",
        title=title,
        lead=lead,
        means=metrics_table(means),
        overview=_overview([section for section in sections if section.query.compared]),
        apart=_overview([section for section in sections if not section.query.compared]),
        sections=sections,
        made_of=made_of,
        thumbnails=thumbnails,
    )


def gallery_page(
    query: str,
    paths: Sequence[str],
    scores: NDArray[np.float64],
    made_of: Mapping[str, str],
    thumbnails: Thumbnails,
) -> str:
    """Return a gallery of images in the order of their scores, highest first."""
    return render(
        "gallery.html.j2",
        title=query,
        order=np.argsort(-scores, kind="stable").tolist(),
        paths=paths,
        scores=scores,
        made_of=made_of,
        thumbnails=thumbnails,
    )


def metrics_table(methods: Mapping[str, Metrics]) -> Table:
    """Return a table of methods and metrics; the best of each column is marked."""
    columns = [
        _cells([getattr(m, name) for m in methods.values()], least=name == "mae") for name in TITLES
    ]
    return Table(
        columns=list(TITLES.values()),
        rows=[(method, [column[n] for column in columns]) for n, method in enumerate(methods)],
    )


def _overview(sections: Sequence[Section]) -> Table:
    """Return a table of queries and methods: SRCC, the best of each query marked."""
    methods = list(dict.fromkeys(name for section in sections for name in section.query.metrics))
    rows = []
    for section in sections:
        metrics = section.query.metrics
        values = [metrics[m].srcc if m in metrics else math.nan for m in methods]
        rows.append((section, _cells(values)))
    return Table(columns=methods, rows=rows)


def _section(number: int, query: QueryReport, most: int) -> Section:
    order = np.argsort(-query.scores, kind="stable")
    return Section(
        id=f"q{number}",
        query=query,
        metrics=metrics_table(query.metrics),
        plot=scatter(query.values, query.scores, same_unit=query.same_unit),
        first=next(iter(query.metrics)),
        few=_spread(order, SHOWN).tolist(),
        long=_spread(order, most).tolist(),
    )


def _spread(order: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Return at most ``number`` elements, evenly spread, ends included."""
    if len(order) <= number:
        return order
    return order[np.linspace(0, len(order) - 1, number).round().astype(np.int64)]


def _cells(values: Sequence[float], *, least: bool = False) -> list[Cell]:
    """Write numbers; the largest, or the least, is the best."""
    best = (min if least else max)((v for v in values if not math.isnan(v)), default=math.nan)
    return [Cell(text=_number(v), best=v == best) for v in values]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}".replace("-", "−")

"""The pages: a run's report, and a ranked gallery. Plain HTML and CSS, nothing from outside.

What stands on a page is chosen here; how it stands there is in ``templates``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.evaluation.metrics import srcc_ceiling
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
AT_END = 4  # images of a query at either end, and in the middle, on the first screen
HIGHLIGHTS = 3  # queries on the first screen
CEILING = "ceiling"


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
        metrics: Method to metrics, in the order of a table's rows.
        predictions: Method to predictions, float64 [n]; of those that are compared in pairs.
        shown: The method whose predictions are shown.
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
    predictions: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    shown: str
    compared: bool = True

    @property
    def ceiling(self) -> float:
        """The largest SRCC that equal labels leave to predictions without ties."""
        return srcc_ceiling(self.values)


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
        ends: Name and numbers of the highest, the middle and the lowest images.
        few: Numbers of the images shown at once, highest prediction first.
        long: Those of the list that can be opened.
    """

    id: str
    query: QueryReport
    metrics: Table
    plot: Markup
    ends: Mapping[str, Sequence[int]]
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
    *,
    about: Mapping[str, str] | None = None,
    banner: str = "",
) -> str:
    """Return a run's report: three queries in pictures, means, every query, and what made it.

    Args:
        title: Heading.
        lead: A sentence below it.
        queries: One section each.
        means: Method to metrics, averaged over queries.
        made_of: Facts to list at the end.
        thumbnails: Pictures of the images.
        about: Method to a sentence that explains it.
        max_images: Images per query in the long list, spread evenly over the ranking.
        banner: What a reader must know before anything else.
    """
    sections = [_section(number, query, max_images) for number, query in enumerate(queries)]
    compared = [section for section in sections if section.query.compared]
    return render(
        "report.html.j2",
        title=title,
        lead=lead,
        highlights=[compared[n] for n in typical([section.query for section in compared])],
        means=metrics_table(means),
        about={name: text for name, text in (about or {}).items() if name in means},
        tasks=_tasks([section.query for section in compared]),
        overview=_overview(compared),
        apart=_overview([section for section in sections if not section.query.compared]),
        sections=sections,
        made_of=made_of,
        thumbnails=thumbnails,
        banner=banner,
    )


def gallery_page(
    query: str,
    paths: Sequence[str],
    scores: NDArray[np.float64],
    made_of: Mapping[str, str],
    thumbnails: Thumbnails,
    *,
    banner: str = "",
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
        banner=banner,
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


def typical(queries: Sequence[QueryReport]) -> list[int]:
    """Choose queries for the first screen by number: one of each of the largest tasks.

    It is the query whose SRCC is the median of its task's.
    """
    tasks = sorted(_by_task(queries).values(), key=len, reverse=True)[:HIGHLIGHTS]
    chosen = []
    for members in tasks:
        ordered = sorted(members, key=lambda q: q.metrics[q.shown].srcc)
        middle = ordered[len(ordered) // 2]
        chosen.append(next(n for n, query in enumerate(queries) if query is middle))
    return chosen


def ends(query: QueryReport) -> dict[str, list[int]]:
    """Name the highest, the middle and the lowest images of a query, by number."""
    order = np.argsort(-query.scores, kind="stable")
    each = min(AT_END, max(1, len(order) // 3))
    start = (len(order) - each) // 2
    return {
        "highest": order[:each].tolist(),
        "middle": order[start : start + each].tolist(),
        "lowest": order[-each:].tolist(),
    }


def _by_task(queries: Sequence[QueryReport]) -> dict[str, list[QueryReport]]:
    found: dict[str, list[QueryReport]] = {}
    for query in queries:
        found.setdefault(query.task, []).append(query)
    return found


def _methods(queries: Sequence[QueryReport]) -> list[str]:
    return list(dict.fromkeys(name for query in queries for name in query.metrics))


def _tasks(queries: Sequence[QueryReport]) -> Table:
    """Return a table of tasks and methods: mean SRCC over a task's queries, and the ceiling."""
    methods = _methods(queries)
    rows = []
    for task, members in _by_task(queries).items():
        values = [float(np.mean([q.metrics[m].srcc for q in members])) for m in methods]
        ceiling = float(np.mean([query.ceiling for query in members]))
        rows.append(((task, len(members)), [*_cells(values), *_cells([ceiling], best=False)]))
    return Table(columns=[*methods, CEILING], rows=rows)


def _overview(sections: Sequence[Section]) -> Table:
    """Return a table of queries and methods: SRCC, the best of each query marked, the ceiling."""
    methods = _methods([section.query for section in sections])
    rows = []
    for section in sections:
        metrics = section.query.metrics
        values = [metrics[m].srcc if m in metrics else math.nan for m in methods]
        ceiling = _cells([section.query.ceiling], best=False)
        rows.append((section, [*_cells(values), *ceiling]))
    return Table(columns=[*methods, CEILING], rows=rows)


def _section(number: int, query: QueryReport, most: int) -> Section:
    order = np.argsort(-query.scores, kind="stable")
    return Section(
        id=f"q{number}",
        query=query,
        metrics=metrics_table(query.metrics),
        plot=scatter(query.values, query.scores, same_unit=query.same_unit),
        ends=ends(query),
        few=_spread(order, SHOWN).tolist(),
        long=_spread(order, most).tolist(),
    )


def _spread(order: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Return at most ``number`` elements, evenly spread, ends included."""
    if len(order) <= number:
        return order
    return order[np.linspace(0, len(order) - 1, number).round().astype(np.int64)]


def _cells(values: Sequence[float], *, least: bool = False, best: bool = True) -> list[Cell]:
    """Write numbers; the largest, or the least, is marked as the best."""
    top = (min if least else max)((v for v in values if not math.isnan(v)), default=math.nan)
    return [Cell(text=_number(v), best=best and v == top) for v in values]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}".replace("-", "−")

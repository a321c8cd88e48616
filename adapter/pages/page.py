"""The pages: a run's report, and a ranked gallery. Plain HTML and CSS, nothing from outside."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from adapter.pages.scatter import scatter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from adapter.evaluation.metrics import Metrics
    from adapter.pages.thumbnails import Thumbnails

SHOWN = 16  # images of a query that are shown before its list is opened

COLUMNS = {
    "plcc": "PLCC",
    "srcc": "SRCC",
    "kendall": "Kendall τ",
    "mae": "MAE",
    "accuracy": "accuracy",
    "pairwise": "pairs",
}


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
    parts = [
        f"<h1>{html.escape(title)}</h1><p class='lead'>{html.escape(lead)}</p>",
        f"<h2>Mean of {len(queries)} queries</h2>",
        metrics_table(means),
        "<h2>SRCC per query</h2>",
        _overview(queries),
        *(_section(number, query, thumbnails, max_images) for number, query in enumerate(queries)),
        "<h2>What made this</h2>",
        facts(made_of),
    ]
    return page(title, "\n".join(parts), thumbnails.style)


def gallery_page(
    query: str,
    paths: Sequence[str],
    scores: NDArray[np.float64],
    made_of: Mapping[str, str],
    thumbnails: Thumbnails,
) -> str:
    """Return a gallery of images in the order of their scores, highest first."""
    order = np.argsort(-scores, kind="stable")
    tiles = "".join(
        f"<figure>{thumbnails.picture(paths[n])}<figcaption><b>{place}</b> "
        f"<span>{scores[n]:.3g}</span></figcaption></figure>"
        for place, n in enumerate(order.tolist(), start=1)
    )
    body = (
        f"<h1>{html.escape(query)}</h1><p class='lead'>{len(paths):,} images, highest first: place "
        f"and score</p><div class='strip'>{tiles}</div><h2>What made this</h2>{facts(made_of)}"
    )
    return page(query, body, thumbnails.style)


def page(title: str, body: str, style: str = "") -> str:
    """Return a whole document with this project's style."""
    base = files("adapter.pages").joinpath("style.css").read_text("utf-8")
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>\n{base}\n{style}\n</style></head>"
        f"<body>\n{body}\n</body></html>\n"
    )


def metrics_table(methods: Mapping[str, Metrics]) -> str:
    """Return a table of methods and metrics; the best of each column is bold."""
    best = {}
    for name in COLUMNS:
        values = [getattr(m, name) for m in methods.values()]
        known = [v for v in values if not math.isnan(v)]
        best[name] = (min if name == "mae" else max)(known, default=math.nan)
    rows = "".join(
        f"<tr><td>{html.escape(method)}</td>"
        + "".join(_number(getattr(m, name), best=best[name]) for name in COLUMNS)
        + "</tr>"
        for method, m in methods.items()
    )
    head = "".join(f"<th>{name}</th>" for name in COLUMNS.values())
    return (
        f"<div class='wide'><table><thead><tr><th>method</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def facts(values: Mapping[str, str]) -> str:
    """Return a list of names and values."""
    items = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
        for name, value in values.items()
    )
    return f"<dl>{items}</dl>"


def _overview(queries: Sequence[QueryReport]) -> str:
    methods = list(dict.fromkeys(name for query in queries for name in query.metrics))
    rows = ""
    for number, query in enumerate(queries):
        found = [query.metrics[m].srcc if m in query.metrics else math.nan for m in methods]
        best = max((v for v in found if not math.isnan(v)), default=math.nan)
        rows += (
            f"<tr><td><a href='#q{number}'>{html.escape(query.query)}</a></td>"
            f"<td class='text'>{html.escape(query.dataset)} / {html.escape(query.task)}</td>"
            f"<td>{len(query.values)}</td>"
            + "".join(_number(value, best=best) for value in found)
            + "</tr>"
        )
    head = "".join(f"<th>{html.escape(method)}</th>" for method in methods)
    return (
        "<div class='wide'><table class='queries'><thead><tr><th>query</th>"
        "<th>data set / task</th><th>n</th>"
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _section(number: int, query: QueryReport, pictures: Thumbnails, most: int) -> str:
    order = np.argsort(-query.scores, kind="stable")
    first = next(iter(query.metrics))
    plot = scatter(query.values, query.scores, same_unit=query.same_unit)
    return (
        f"<h2 id='q{number}'>{html.escape(query.query)}</h2><div class='query'><div>{plot}"
        f"</div><div>{metrics_table(query.metrics)}<p class='soft'>{SHOWN} of "
        f"{len(order)} images, evenly spread over the order that {html.escape(first)} gives, "
        "highest first: <b>predicted</b> (true)</p>"
        f"{_strip(query, _spread(order, SHOWN), pictures)}"
        f"<details><summary>{'all' if len(order) <= most else most} images in predicted order"
        f"</summary>{_strip(query, _spread(order, most), pictures)}</details></div></div>"
    )


def _strip(query: QueryReport, order: NDArray[np.int64], pictures: Thumbnails) -> str:
    tiles = "".join(
        f"<figure>{pictures.picture(query.paths[n], query.folder)}"
        f"<figcaption><b>{query.scores[n]:.3g}</b> "
        f"<span>({query.values[n]:.3g})</span></figcaption></figure>"
        for n in order.tolist()
    )
    return f"<div class='strip'>{tiles}</div>"


def _spread(order: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Return at most ``number`` elements, evenly spread, ends included."""
    if len(order) <= number:
        return order
    return order[np.linspace(0, len(order) - 1, number).round().astype(np.int64)]


def _number(value: float, *, best: float) -> str:
    if math.isnan(value):
        return "<td>–</td>"
    mark = " class='best'" if value == best else ""
    return f"<td{mark}>{value:.3f}</td>"

"""Tables of a reproduced recipe: Markdown for reading, JSON for programs, HTML for showing.

Everything here renders the dictionary of ``results.Results.to_dict``; nothing is computed
but the choice of the best number of a column.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from featcache.storage.durable import write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Doc = dict[str, Any]

DASH = "–"
NOISE = "≈"
QUICK = "quick check, not the reproduction"


def write_tables(doc: Doc, folder: Path) -> tuple[Path, ...]:
    """Write ``NAME.md``, ``NAME.json`` and ``NAME.html`` (``NAME-quick.*``), atomically.

    Returns:
        Their paths, in this order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = doc["recipe"] + ("-quick" if doc["quick"] else "")
    paths = tuple(folder / f"{name}.{ending}" for ending in ("md", "json", "html"))
    write_bytes(paths[0], to_markdown(doc).encode())
    write_json(paths[1], doc)
    write_bytes(paths[2], to_html(doc).encode())
    return paths


def heading(doc: Doc) -> str:
    """Return the title; that of a quick run says what it is."""
    return f"{doc['title']} ({QUICK})" if doc["quick"] else str(doc["title"])


def number(value: float | None, metric: Mapping[str, Any]) -> str:
    """Write a number with the metric's decimals."""
    return DASH if value is None else f"{value:.{metric['digits']}f}"


def spread(value: float | None, std: float | None, metric: Mapping[str, Any]) -> str:
    """Write mean (standard deviation)."""
    shown = number(value, metric)
    return shown if std is None or value is None else f"{shown} ({number(std, metric)})"


def signed(value: float | None, metric: Mapping[str, Any]) -> str:
    """Write a difference with its sign, a true minus among them."""
    if value is None:
        return DASH
    shown = f"{value:+.{metric['digits']}f}"
    return shown.replace("-", "−")


def better(difference: float, std: float | None, metric: Mapping[str, Any]) -> str:
    """Judge a difference to the paper: ``better``, ``worse``, or ``even`` within one deviation."""
    if abs(difference) <= max(std or 0.0, 0.5 * 10 ** -metric["digits"]):
        return "even"
    return "better" if (difference > 0) == metric["higher_is_better"] else "worse"


def best_rows(doc: Doc, task: str, metric: Mapping[str, Any]) -> set[str]:
    """Return the keys of the rows that share the best of our numbers, as it is written."""
    means = {
        row["key"]: row["tasks"][task]["metrics"][metric["key"]]["mean"] for row in doc["rows"]
    }
    shown = {key: round(m, metric["digits"]) for key, m in means.items() if m is not None}
    if len(shown) < 2:
        return set()
    top = (max if metric["higher_is_better"] else min)(shown.values())
    return {key for key, value in shown.items() if value == top}


def noisy(doc: Doc, task: str, metric: str) -> set[str]:
    """Return the keys of the rows whose difference to the reference is within noise."""
    return {
        c["row"]
        for c in doc["comparisons"]
        if (c["task"], c["metric"]) == (task, metric) and c["within_noise"]
    }


def title_of(doc: Doc, key: str) -> str:
    """Return a row's title."""
    return next(str(row["title"]) for row in doc["rows"] if row["key"] == key)


def footnotes(doc: Doc) -> list[str]:
    """Return what stands below a table, as sentences."""
    reference = title_of(doc, doc["reference"])
    lines = [
        (
            f"Ours: mean (standard deviation) over folds; paper: {doc['source']}. Rows marked "
            "“as printed” were not run."
        ),
        (
            f"{NOISE}: the difference to “{reference}” is within noise (95 % interval, paired "
            "bootstrap over folds and test images, holds zero). Bold: best of our numbers."
        ),
        *doc["notes"],
    ]
    for reason in dict.fromkeys(row["reason"] for row in doc["rows"] if row["reason"]):
        names = ", ".join(row["title"] for row in doc["rows"] if row["reason"] == reason)
        lines.append(f"{names}: {reason}.")
    for task in doc["tasks"]:
        if task["status"] != "there" or not task["fingerprint"]:
            continue
        backbone = task["backbone"]
        failed = f" ({task['images_failed']:,} unreadable)" if task["images_failed"] else ""
        lines.append(
            f"{task['title']}: {task['split']}; {task['images']:,} images{failed}; backbone "
            f"{backbone.get('name')} ({backbone.get('pretrained') or 'its own weights'}), "
            f"projection {backbone.get('projection')}, token pool {backbone.get('token_pool')}; "
            f"features {task['fingerprint']}, extracted in {task['extraction_seconds']:.0f} s."
        )
        lines += [f"{task['title']}: {note}." for note in task["notes"]]
    versions = ", ".join(f"{name} {v}" for name, v in doc["versions"].items())
    seeds = ", ".join(map(str, doc["seeds"]))
    lines.append(f"Seeds {seeds}; {doc['device']}; {doc['machine']}; {versions}; {doc['created']}.")
    return lines


def to_markdown(doc: Doc) -> str:
    """Render as Markdown: one table per data set, then comparisons and notes."""
    lines = [f"# {heading(doc)}", ""]
    for task in doc["tasks"]:
        lines += [f"## {task['title']}", ""]
        if task["status"] != "there":
            lines += ["Not run: the data are not there.", "", "```", *task["missing"], "```", ""]
        lines += [*_markdown_table(doc, task), ""]
    if doc["comparisons"]:
        lines += _markdown_comparisons(doc)
    lines += ["## Notes", "", *(f"- {line}" for line in footnotes(doc))]
    return "\n".join(lines) + "\n"


def _markdown_table(doc: Doc, task: Mapping[str, Any]) -> list[str]:
    head = ["method"]
    for metric in task["metrics"]:
        unit = f" [{metric['unit']}]" if metric["unit"] else ""
        head += [f"{metric['title']}{unit}, ours", "paper", "difference"]
    head += ["folds", "s per fold"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    best = {m["key"]: best_rows(doc, task["key"], m) for m in task["metrics"]}
    noise = {m["key"]: noisy(doc, task["key"], m["key"]) for m in task["metrics"]}
    for row in doc["rows"]:
        entry = row["tasks"][task["key"]]
        cells = [_cell(row["title"] + (", as printed" if row["kind"] == "printed" else ""))]
        for metric in task["metrics"]:
            key, found = metric["key"], entry["metrics"][metric["key"]]
            ours = spread(found["mean"], found["std"], metric)
            ours = f"**{ours}**" if row["key"] in best[key] else ours
            ours += f" {NOISE}" if row["key"] in noise[key] else ""
            printed = spread(found["printed"], found["printed_std"], metric)
            cells += [ours, printed, signed(found["difference"], metric)]
        count = f"{entry['folds_run']} of {len(task['folds'])}"
        seconds = entry["seconds_mean"]
        reason = {"printed": DASH, "left out": "left out"}.get(row["kind"], count)
        cells += [reason, DASH if seconds is None else f"{seconds:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _markdown_comparisons(doc: Doc) -> list[str]:
    reference = title_of(doc, doc["reference"])
    lines = [
        f"## Differences to “{reference}”",
        "",
        "| data set | method | metric | difference | 95 % interval | folds | |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    for task in doc["tasks"]:
        metrics = {m["key"]: m for m in task["metrics"]}
        for c in (c for c in doc["comparisons"] if c["task"] == task["key"]):
            metric = metrics[c["metric"]]
            lines.append(
                f"| {task['title']} | {_cell(title_of(doc, c['row']))} | {metric['title']} | "
                f"{signed(c['difference'], metric)} | {signed(c['low'], metric)} to "
                f"{signed(c['high'], metric)} | {c['folds']} | "
                f"{'within noise' if c['within_noise'] else ''} |"
            )
    return [*lines, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def to_html(doc: Doc) -> str:
    """Render as one self-contained page, light or dark as the reader's system."""
    style = files("adapter.reproduction").joinpath("table.css").read_text("utf-8")
    title = escape(heading(doc))
    tasks = doc["tasks"]
    groups = "".join(
        f'<th colspan="{len(t["metrics"])}" class="group">{escape(t["title"])}'
        + ("" if t["status"] == "there" else '<span class="tag">data not there</span>')
        + "</th>"
        for t in tasks
    )
    columns = "".join(f"<th>{_column(m)}</th>" for t in tasks for m in t["metrics"])
    body = "\n".join(_html_row(doc, row) for row in doc["rows"])
    missing = "".join(
        f"<h2>{escape(t['title'])}: the data are not there</h2>"
        f"<pre>{escape(chr(10).join(t['missing']))}</pre>"
        for t in tasks
        if t["status"] != "there"
    )
    notes = "".join(f"<li>{escape(line)}</li>" for line in footnotes(doc))
    banner = f'<p class="banner">{escape(QUICK.capitalize())}.</p>' if doc["quick"] else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
{banner}<h1>{title}</h1>
<p class="source">Our numbers; below each, small, those of {escape(doc["source"])} and the
difference</p>
<table>
<thead>
<tr><th></th>{groups}</tr>
<tr><th></th>{columns}</tr>
</thead>
<tbody>
{body}
</tbody>
</table>
{missing}{_html_comparisons(doc)}<ul class="notes">{notes}</ul>
</main>
</body>
</html>
"""


def _column(metric: Mapping[str, Any]) -> str:
    arrow = "↑" if metric["higher_is_better"] else "↓"
    unit = f" <small>[{metric['unit']}]</small>" if metric["unit"] else ""
    return f"{escape(metric['title'])}{unit} {arrow}"


def _html_row(doc: Doc, row: Mapping[str, Any]) -> str:
    kinds = {"printed": "as printed", "left out": "left out"}
    tag = kinds.get(row["kind"], "")
    classes = "reference" if row["key"] == doc["reference"] else row["kind"].replace(" ", "-")
    tip = f' title="{escape(row["reason"], quote=True)}"' if row["reason"] else ""
    name = escape(row["title"]) + (f'<span class="tag"{tip}>{tag}</span>' if tag else "")
    cells = "".join(
        _html_cell(doc, row, task, metric) for task in doc["tasks"] for metric in task["metrics"]
    )
    return f'<tr class="{classes}"><th scope="row">{name}</th>{cells}</tr>'


def _html_cell(
    doc: Doc, row: Mapping[str, Any], task: Mapping[str, Any], metric: Mapping[str, Any]
) -> str:
    found = row["tasks"][task["key"]]["metrics"][metric["key"]]
    lines = []
    if row["kind"] == "printed":
        lines.append(_mean(found["printed"], found["printed_std"], metric, "ours"))
    else:
        bold = row["key"] in best_rows(doc, task["key"], metric)
        mark = f" <i>{NOISE}</i>" if row["key"] in noisy(doc, task["key"], metric["key"]) else ""
        lines.append(
            _mean(found["mean"], found["std"], metric, "ours best" if bold else "ours", mark)
        )
        if found["printed"] is not None:
            shown = _mean(found["printed"], found["printed_std"], metric, "")
            judged = ""
            if found["difference"] is not None:
                kind = better(found["difference"], found["printed_std"], metric)
                judged = f' <b class="{kind}">{signed(found["difference"], metric)}</b>'
            lines.append(f'<span class="paper">paper {shown}{judged}</span>')
    return f"<td>{''.join(lines)}</td>"


def _mean(
    value: float | None, std: float | None, metric: Mapping[str, Any], kind: str, mark: str = ""
) -> str:
    inner = number(value, metric)
    if value is not None and std is not None:
        inner += f" <small>({number(std, metric)})</small>"
    inner += mark
    return f'<span class="{kind}">{inner}</span>' if kind else inner


def _html_comparisons(doc: Doc) -> str:
    if not doc["comparisons"]:
        return ""
    rows = []
    for task in doc["tasks"]:
        metrics = {m["key"]: m for m in task["metrics"]}
        for c in (c for c in doc["comparisons"] if c["task"] == task["key"]):
            metric = metrics[c["metric"]]
            verdict = "within noise" if c["within_noise"] else ""
            rows.append(
                f"<tr><th scope='row'>{escape(title_of(doc, c['row']))}</th>"
                f"<td>{escape(task['title'])}</td><td>{escape(metric['title'])}</td>"
                f"<td>{signed(c['difference'], metric)}</td>"
                f"<td>{signed(c['low'], metric)} … {signed(c['high'], metric)}</td>"
                f"<td>{verdict}</td></tr>"
            )
    reference = escape(title_of(doc, doc["reference"]))
    return (
        f"<details><summary>Differences to “{reference}”, with 95 % intervals</summary>"
        "<table><thead><tr><th></th><th></th><th>metric</th><th>difference</th><th>interval</th>"
        f"<th></th></tr></thead><tbody>{''.join(rows)}</tbody></table></details>\n"
    )

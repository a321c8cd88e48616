"""Tables of a reproduced recipe: Markdown for reading, JSON for programs, HTML for showing.

Everything here renders the dictionary of ``results.Results.to_dict``; nothing is computed
but the choice of the best number of a column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter.pages.render import render
from adapter.reproduction import wording
from adapter.reproduction.wording import (
    DASH,
    NOISE,
    Doc,
    best_rows,
    comparisons,
    footnotes,
    heading,
    noisy,
    signed,
    spread,
    title_of,
)
from featcache.storage.durable import make_folders, write_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_tables(doc: Doc, folder: Path) -> tuple[Path, ...]:
    """Write ``NAME.md``, ``NAME.json`` and ``NAME.html`` (``NAME-quick.*``), atomically.

    Returns:
        Their paths, in this order.
    """
    make_folders(folder)
    name = doc["recipe"] + ("-quick" if doc["quick"] else "")
    paths = tuple(folder / f"{name}.{ending}" for ending in ("md", "json", "html"))
    write_bytes(paths[0], to_markdown(doc).encode())
    write_json(paths[1], doc)
    write_bytes(paths[2], to_html(doc).encode())
    return paths


def to_html(doc: Doc) -> str:
    """Render as one self-contained page, light or dark as the reader's system."""
    return render("table.html.j2", title=heading(doc), doc=doc, words=wording)


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
    for task, metric, found in comparisons(doc):
        lines.append(
            f"| {task['title']} | {_cell(title_of(doc, found['row']))} | {metric['title']} | "
            f"{signed(found['difference'], metric)} | {signed(found['low'], metric)} to "
            f"{signed(found['high'], metric)} | {found['folds']} | "
            f"{'within noise' if found['within_noise'] else ''} |"
        )
    return [*lines, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

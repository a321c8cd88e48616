"""Tables of reproduced recipes, in five formats that hold the same numbers.

Markdown for reading, HTML for showing, LaTeX (booktabs) for a paper, CSV (a line for each number)
and JSON for programs. Everything here renders the dictionary of ``results.Results.to_dict``;
nothing is computed but the choice of the best number of a column.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from adapter.pages.render import render
from adapter.reproduction import wording
from adapter.reproduction.latex import to_latex
from adapter.reproduction.wording import (
    NOISE,
    Doc,
    Entry,
    banner,
    comparisons,
    footnotes,
    grid,
    heading,
    signed,
    title_of,
)
from featcache.storage.durable import make_folders, write_bytes, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CSV_COLUMNS = (
    *("recipe", "stand_in", "row", "title", "kind", "task", "metric", "mean", "std", "folds"),
    *("paper", "paper_std", "difference_to_paper", "difference_to_reference", "low", "high"),
    *("within_noise", "seconds_per_fold", "device", "status", "reason"),
)


def write_tables(doc: Doc, folder: Path) -> tuple[Path, ...]:
    """Write ``NAME.md``, ``.json``, ``.html``, ``.csv`` and ``.tex``, atomically.

    Those of a quick run are called ``NAME-quick.*``, those of drawn stand-ins ``NAME-stand-in.*``.

    Returns:
        Their paths, in this order.
    """
    make_folders(folder)
    name = file_name(doc)
    paths = tuple(folder / f"{name}.{ending}" for ending in ("md", "json", "html", "csv", "tex"))
    write_bytes(paths[0], to_markdown(doc).encode())
    write_json(paths[1], doc)
    write_bytes(paths[2], to_html(doc, drawn_figures(folder)).encode())
    write_bytes(paths[3], to_csv(doc).encode())
    write_bytes(paths[4], to_latex(doc).encode())
    return paths


def write_index(docs: Sequence[Doc], folder: Path) -> Path:
    """Write ``index.html``, which leads to every table and says how far each is."""
    make_folders(folder)
    path = folder / "index.html"
    tables = [(doc, file_name(doc), wording.progress_of(doc)) for doc in docs]
    write_text(path, render("index.html.j2", title="All tables", tables=tables, words=wording))
    return path


def file_name(doc: Doc) -> str:
    """Return the name of a table's files, without their ending."""
    kind = "-stand-in" if doc["stand_in"] else "-quick" if doc["quick"] else ""
    return f"{doc['recipe']}{kind}"


def drawn_figures(folder: Path) -> frozenset[str]:
    """Return the names of the figures that are there beside a folder of tables."""
    return frozenset(path.stem for path in (folder.parent / "figures").glob("*.html"))


def to_html(doc: Doc, drawn: frozenset[str] = frozenset()) -> str:
    """Render as one self-contained page, light or dark as the reader's system.

    Args:
        doc: The table.
        drawn: Figures that it can lead to.
    """
    return render("table.html.j2", title=heading(doc), doc=doc, drawn=drawn, words=wording)


def to_markdown(doc: Doc) -> str:
    """Render as Markdown: one table per data set, then comparisons and notes."""
    lines = [f"# {heading(doc)}", ""]
    lines += [f"**{banner(doc)}**", ""] if banner(doc) else []
    for task in doc["tasks"]:
        lines += [f"## {task['title']}", ""]
        if task["status"] != "there":
            lines += ["Not run: the data are not there.", "", "```", *task["missing"], "```", ""]
        lines += [*_markdown_table(doc, task), ""]
    if doc["comparisons"]:
        lines += _markdown_comparisons(doc)
    lines += ["## Notes", "", *(f"- {line}" for line in footnotes(doc))]
    return "\n".join(lines) + "\n"


def to_csv(doc: Doc) -> str:
    """Render as CSV: a line for each row, data set and metric, with unrounded numbers."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    compared = {(c["task"], c["metric"], c["row"]): c for c in doc["comparisons"]}
    for row in doc["rows"]:
        for task in doc["tasks"]:
            entry = row["tasks"][task["key"]]
            for metric in task["metrics"]:
                numbers = entry["metrics"][metric["key"]]
                found = compared.get((task["key"], metric["key"], row["key"]), {})
                writer.writerow(
                    {
                        "recipe": doc["recipe"],
                        "stand_in": str(task["stand_in"]).lower(),
                        "row": row["key"],
                        "title": row["title"],
                        "kind": row["kind"],
                        "task": task["key"],
                        "metric": metric["key"],
                        "mean": numbers["mean"],
                        "std": numbers["std"],
                        "folds": numbers["folds"],
                        "paper": numbers["printed"],
                        "paper_std": numbers["printed_std"],
                        "difference_to_paper": numbers["difference"],
                        "difference_to_reference": found.get("difference"),
                        "low": found.get("low"),
                        "high": found.get("high"),
                        "within_noise": found.get("within_noise"),
                        "seconds_per_fold": entry["seconds_mean"],
                        "device": "; ".join(entry["device"]),
                        "status": entry["status"] or task["status"],
                        "reason": entry["reason"] or row["reason"],
                    }
                )
    return out.getvalue()


def _markdown_table(doc: Doc, task: Mapping[str, Any]) -> list[str]:
    head, rows = grid(doc, task)
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    lines += [f"| {' | '.join(_field(entry) for entry in row)} |" for row in rows]
    return lines


def _field(entry: Entry) -> str:
    text = _escaped(entry.text)
    text = f"**{text}**" if entry.best else text
    text += f" {NOISE}" if entry.noise else ""
    return f"{text} [{entry.mark}]" if entry.mark else text


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
            f"| {task['title']} | {_escaped(title_of(doc, found['row']))} | {metric['title']} | "
            f"{signed(found['difference'], metric)} | {signed(found['low'], metric)} to "
            f"{signed(found['high'], metric)} | {found['folds']} | "
            f"{'within noise' if found['within_noise'] else ''} |"
        )
    return [*lines, ""]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")

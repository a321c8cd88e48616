"""A table in LaTeX, for a paper: needs the package booktabs and UTF-8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.reproduction.wording import (
    DASH,
    NOISE,
    Doc,
    Entry,
    comparisons,
    footnotes,
    grid,
    heading,
    signed,
    title_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

SPECIAL = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    DASH: "--",
    "−": "$-$",
    NOISE: r"$\approx$",
    "±": r"$\pm$",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "≥": r"$\geq$",
}


def to_latex(doc: Doc) -> str:
    """Render as LaTeX: one table per data set, then the differences to the reference."""
    lines = [f"% {heading(doc)}", r"% needs \usepackage{booktabs}"]
    for task in doc["tasks"]:
        head, rows = grid(doc, task)
        title = f"{heading(doc)}: {task['title']}"
        if task["status"] != "there":
            title += " (not run: the data are not there)"
        lines += _table(title, [escape(name) for name in head], [_fields(row) for row in rows])
    if doc["comparisons"]:
        rows_of = [
            [
                escape(text)
                for text in (
                    task["title"],
                    title_of(doc, found["row"]),
                    metric["title"],
                    signed(found["difference"], metric),
                    f"{signed(found['low'], metric)} to {signed(found['high'], metric)}",
                    NOISE if found["within_noise"] else "",
                )
            ]
            for task, metric, found in comparisons(doc)
        ]
        head = ["data set", "method", "metric", "difference", r"95\,\% interval", ""]
        title = f"Differences to “{title_of(doc, doc['reference'])}”"
        lines += _table(title, head, rows_of, text_columns=3)
    lines += [f"% {line}" for line in footnotes(doc)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Write text so that LaTeX prints it as it is."""
    return "".join(SPECIAL.get(character, character) for character in text)


def _fields(row: Sequence[Entry]) -> list[str]:
    found = []
    for entry in row:
        text = escape(entry.text)
        text = rf"\textbf{{{text}}}" if entry.best else text
        text += r"~$\approx$" if entry.noise else ""
        found.append(text + (rf"\textsuperscript{{{entry.mark}}}" if entry.mark else ""))
    return found


def _table(
    title: str, head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1
) -> list[str]:
    """Return the lines of one table."""
    columns = "l" * text_columns + "r" * (len(head) - text_columns)
    return [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]

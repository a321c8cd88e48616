"""What tables say: numbers as papers write them, which is best, what is better, notes.

Everything here reads the dictionary of ``results.Results.to_dict``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Doc = dict[str, Any]

DASH = "–"
NOISE = "≈"
QUICK = "quick check, not the reproduction"


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


def comparisons(doc: Doc) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """List the differences to the reference: data set, metric, and what was found."""
    for task in doc["tasks"]:
        metrics = {m["key"]: m for m in task["metrics"]}
        for found in doc["comparisons"]:
            if found["task"] == task["key"]:
                yield task, metrics[found["metric"]], found

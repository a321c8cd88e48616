"""What tables say: numbers as papers write them, which is best, what is better, notes.

Everything here reads the dictionary of ``results.Results.to_dict``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featcache.datasets.stand_in import NOTICE
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Doc = dict[str, Any]

DASH = "–"
NOISE = "≈"
QUICK = "quick check, not the reproduction"
STAND_INS = "drawn stand-ins, not the data sets"
OURS, OURS_DRAWN = "ours", "ours, on stand-ins"
PAPER, PAPER_REAL = "paper", "paper, on the real data"


def heading(doc: Doc) -> str:
    """Return the title; that of a quick run, or of drawn stand-ins, says what it is."""
    what = STAND_INS if doc["stand_in"] else QUICK if doc["quick"] else ""
    return f"{doc['title']} ({what})" if what else str(doc["title"])


def banner(doc: Doc) -> str:
    """Return what a reader must know before any number; empty where there is nothing."""
    if doc["stand_in"]:
        return NOTICE
    return f"{QUICK.capitalize()}." if doc["quick"] else ""


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


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One field of a printed table.

    Attributes:
        text: What stands there.
        best: Whether it is the best of our numbers in its column.
        noise: Whether it differs from the reference by no more than noise.
        mark: Number of a footnote; 0 for none.
    """

    text: str
    best: bool = False
    noise: bool = False
    mark: int = 0


def grid(doc: Doc, task: Mapping[str, Any]) -> tuple[list[str], list[list[Entry]]]:
    """Return one data set's table: names of columns, and rows of fields, as all formats show it."""
    head = ["method"]
    for metric in task["metrics"]:
        unit = f" [{metric['unit']}]" if metric["unit"] else ""
        ours, paper = (OURS_DRAWN, PAPER_REAL) if doc["stand_in"] else (OURS, PAPER)
        head += [f"{metric['title']}{unit}, {ours}", paper, "difference"]
    head += ["folds", "s per fold", "on"]
    best = {m["key"]: best_rows(doc, task["key"], m) for m in task["metrics"]}
    noise = {m["key"]: noisy(doc, task["key"], m["key"]) for m in task["metrics"]}
    numbers = marks(doc)
    rows = []
    for row in doc["rows"]:
        entry = row["tasks"][task["key"]]
        title = row["title"] + (", as printed" if row["kind"] == "printed" else "")
        fields = [Entry(text=title, mark=numbers.get(row["key"], 0))]
        for metric in task["metrics"]:
            key, found = metric["key"], entry["metrics"][metric["key"]]
            fields += [
                Entry(
                    text=spread(found["mean"], found["std"], metric),
                    best=row["key"] in best[key],
                    noise=row["key"] in noise[key],
                ),
                Entry(text=spread(found["printed"], found["printed_std"], metric)),
                Entry(text=signed(found["difference"], metric)),
            ]
        seconds = entry["seconds_mean"]
        rows.append(
            [
                *fields,
                Entry(text=state(row, task)),
                Entry(text=DASH if seconds is None else f"{seconds:.1f}"),
                Entry(text=places(entry["device"])),
            ]
        )
    return head, rows


def state(row: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    """Say how far a row is: its folds, or why there are none."""
    entry = row["tasks"][task["key"]]
    if row["kind"] == "printed":
        return DASH
    if row["kind"] == "left out":
        return "left out"
    count = f"{entry['folds_run']} of {max(len(task['folds']), entry['folds_run'])}"
    if entry["status"] == "failed":
        return f"failed ({count})" if entry["folds_run"] else "failed"
    return entry["status"] or count


def places(devices: Sequence[str]) -> str:
    """Say whether cells were computed on a CPU or a GPU."""
    kinds = ["CPU" if name.lower().startswith("cpu") else "GPU" for name in devices]
    return " and ".join(dict.fromkeys(kinds)) or DASH


def marks(doc: Doc) -> dict[str, int]:
    """Number the rows that have a note, in the order of the table; equal notes share a number."""
    notes = list(dict.fromkeys(row["note"] for row in doc["rows"] if row["note"]))
    return {row["key"]: notes.index(row["note"]) + 1 for row in doc["rows"] if row["note"]}


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
            "bootstrap over folds and test images, contains zero). Bold: best of our numbers."
        ),
    ]
    notes = list(dict.fromkeys(row["note"] for row in doc["rows"] if row["note"]))
    lines += [f"[{number}] {note}" for number, note in enumerate(notes, start=1)]
    if doc["quick"] and notes:
        lines.append(
            "The numbers of steps in these notes are those of the full run; this run took fewer."
        )
    lines += doc["notes"]
    for reason in dict.fromkeys(row["reason"] for row in doc["rows"] if row["reason"]):
        names = ", ".join(row["title"] for row in doc["rows"] if row["reason"] == reason)
        lines.append(f"{names}: {reason}.")
    lines += [f"Failed: {line}" for line in failures(doc)]
    for task in doc["tasks"]:
        lines += _of_task(doc, task)
    versions = ", ".join(f"{name} {v}" for name, v in doc["versions"].items())
    seeds = ", ".join(map(str, doc["seeds"]))
    lines.append(f"Seeds {seeds}; {doc['device']}; {doc['machine']}; {versions}; {doc['created']}.")
    return lines


def failures(doc: Doc) -> list[str]:
    """Say which cells failed, or have nothing to say, and why."""
    return [
        f"{row['title']}, {task['title']}: {entry['reason']}"
        for task in doc["tasks"]
        for row in doc["rows"]
        if (entry := row["tasks"][task["key"]])["status"] == "failed"
    ]


def _of_task(doc: Doc, task: Mapping[str, Any]) -> list[str]:
    """Return the sentences about one data set: its split, its features, what was chosen."""
    lines = [f"{task['title']}: {choice}" for choice in task["choices"]]
    if task["status"] != "there":
        return lines
    lines += [f"{task['title']}: {task['split']}."] if task["split"] else []
    for known in task["features"]:
        backbone = known["backbone"]
        failed = f" ({known['images_failed']:,} unreadable)" if known["images_failed"] else ""
        changed = [
            f"{name} {backbone[name]}"
            for name in ("resize", "positions", "tokens")
            if backbone.get(name, "") not in ("", "squash", "default", "patch")
        ]
        lines.append(
            f"{task['title']}: {quantity(known['images'], 'image')}{failed}; backbone "
            f"{backbone.get('name')} ({backbone.get('pretrained') or 'its own weights'}), "
            f"projection {backbone.get('projection')}, token pool {backbone.get('token_pool')}"
            f"{''.join(f', {text}' for text in changed)}; features {known['fingerprint']}, "
            f"extracted in {known['extraction_seconds']:.0f} s."
        )
    queries = max((row["tasks"][task["key"]]["queries"] for row in doc["rows"]), default=0)
    if queries > 1:
        lines.append(
            f"{task['title']}: means over {quantity(queries, 'query', 'queries')}, each with "
            "one weight."
        )
    return [*lines, *(f"{task['title']}: {note}." for note in task["notes"])]


def comparisons(doc: Doc) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """List the differences to the reference: data set, metric, and what was found."""
    for task in doc["tasks"]:
        metrics = {m["key"]: m for m in task["metrics"]}
        for found in doc["comparisons"]:
            if found["task"] == task["key"]:
                yield task, metrics[found["metric"]], found


def progress_of(doc: Doc) -> str:
    """Say in a few words how far a table is."""
    missing = [task["title"] for task in doc["tasks"] if task["status"] != "there"]
    entries = [
        entry for row in doc["rows"] if row["kind"] == "run" for entry in row["tasks"].values()
    ]
    parts = [f"{sum(entry['folds_run'] > 0 for entry in entries)} of {len(entries)} fields"]
    failed = sum(entry["status"] == "failed" for entry in entries)
    parts += [f"{failed} failed"] if failed else []
    parts += [f"data not there: {', '.join(missing)}"] if missing else []
    return "; ".join(parts)

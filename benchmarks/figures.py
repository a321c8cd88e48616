"""What benchmarks have measured: a JSON file each, its tables on a page, what changed between two.

    python benchmarks/figures.py pages                       # the tables in docs/benchmarks
    python benchmarks/figures.py compare OLD.json NEW.json   # make bench-compare OLD=... NEW=...

A file says where, when and of which commit its figures are, and how they are shown:

    {"about": {"date": ..., "machine": ..., "commit": ..., "versions": {...}},
     "tables": [{"columns": [["case", "case", ""], ["seconds", "time, s", ".1f"]],
                 "rows": [{"case": "a million rows", "seconds": 2.31}, ...]}, ...]}

The first column, ``case``, names a row. On a page, ``<!-- FILE.json -->`` and ``<!-- end -->``
enclose what is written here; where there is no such file, that nothing was measured yet.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from featcache.storage.durable import write_json, write_text

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs/benchmarks"
NOT_MEASURED = "Not measured yet.\n"
BLOCK = re.compile(r"(<!-- ([\w-]+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)


def about(*packages: str) -> dict[str, Any]:
    """Say where and when this is measured, of which commit, with which versions."""
    commit = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    found = subprocess.run(commit, capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "commit": found.stdout.strip() or "unknown",
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
    }


def machine() -> str:
    """Describe the machine in a line: processors, memory, GPU."""
    cpus = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpus.read_text()) if cpus.exists() else []
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores of an {name}, {memory:.0f} GB, {_gpu()}"


def _gpu() -> str:
    torch = sys.modules.get("torch")  # who has not imported it, does not use a GPU
    if torch is None or not torch.cuda.is_available():
        return "no GPU"
    return str(torch.cuda.get_device_name())


def write(path: Path, tables: list[dict[str, Any]], *packages: str) -> None:
    """Write what was measured."""
    write_json(path, {"about": about(*packages), "tables": tables})


def add(path: Path, table: dict[str, Any], *packages: str) -> None:
    """Put a table into a file that may hold others; it takes the place of one with its cases."""
    before = read(path) if path.exists() else {"tables": []}
    cases = {row["case"] for row in table["rows"]}
    others = [one for one in before["tables"] if cases.isdisjoint(r["case"] for r in one["rows"])]
    write_json(path, {**before, "about": about(*packages), "tables": [*others, table]})


def show(table: dict[str, Any], path: Path | None, *packages: str) -> None:
    """Print a table; put it into a file where one is given."""
    print(markdown({"about": about(*packages), "tables": [table]}))
    if path:
        add(path, table, *packages)


def remember(path: Path, command: str) -> None:
    """Note in a file which command its tables come from."""
    found = read(path)
    write_json(path, {**found, "done": sorted({*found.get("done", []), command})})


def markdown(result: dict[str, Any]) -> str:
    """Return the tables of a result, and below them where they come from."""
    lines = []
    for table in result["tables"]:
        columns = table["columns"]
        lines.append(f"| {' | '.join(title for _, title, _ in columns)} |")
        lines.append("|" + "".join("---:|" if form else "---|" for *_, form in columns))
        for row in table["rows"]:
            cells = (_shown(row.get(name), form) for name, _, form in columns)
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    facts = result["about"]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    lines.append(f"{facts['machine']}, {facts['date']}, commit {facts['commit']}; {versions}.")
    return "\n".join(lines) + "\n"


def _shown(value: Any, form: str) -> str:
    return "–" if value is None else format(value, form)


def page(text: str, folder: Path) -> str:
    """Return a page with its tables made again from the files that it names."""

    def fill(block: re.Match[str]) -> str:
        file = folder / block[2]
        return block[1] + (markdown(read(file)) if file.exists() else NOT_MEASURED) + block[3]

    return BLOCK.sub(fill, text)


def read(path: Path) -> dict[str, Any]:
    """Read a result."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Say, line by line, which numbers of two results differ, and by which factor."""
    before, after = _numbers(old), _numbers(new)
    lines = [f"{key}: only in the old file" for key in before if key not in after]
    lines += [f"{key}: only in the new file" for key in after if key not in before]
    for key in before.keys() & after.keys():
        one, other = before[key], after[key]
        if one != other:
            factor = f" (x {other / one:.2f})" if one else ""
            lines.append(f"{key}: {one:.4g} -> {other:.4g}{factor}")
    return sorted(lines)


def _numbers(result: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a result by row and column."""
    found = {}
    for table in result["tables"]:
        for row in table["rows"]:
            for name, title, form in table["columns"]:
                if form and row.get(name) is not None:
                    found[f"{row['case']}, {title}"] = row[name]
    return found


def main() -> None:
    """Write the pages, or compare two results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("pages", help="write the tables into docs/benchmarks")
    compare = commands.add_parser("compare", help="say which figures of two files differ")
    compare.add_argument("old", type=Path)
    compare.add_argument("new", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "pages":
        for path in sorted(PAGES.glob("*.md")):
            text = path.read_text("utf-8")
            if (new := page(text, PAGES)) != text:
                write_text(path, new)
                print(f"{path}: written")
        return
    old, new = read(arguments.old), read(arguments.new)
    for name, facts in (("old", old["about"]), ("new", new["about"])):
        print(f"{name}: {facts['machine']}, {facts['date']}, commit {facts['commit']}")
    print("\n".join(differences(old, new)) or "no difference")


if __name__ == "__main__":
    main()

"""Results of benchmarks: their files, the tables on their pages, and what changed between two."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs/benchmarks"


@pytest.fixture(scope="module")
def figures() -> Any:
    """The module, which no package holds."""
    spec = importlib.util.spec_from_file_location("figures", ROOT / "benchmarks/figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(**seconds: float) -> dict[str, Any]:
    columns = [["case", "case", ""], ["seconds", "time, s", ".1f"], ["rows", "rows", ",d"]]
    rows = [{"case": name, "seconds": value, "rows": 5000} for name, value in seconds.items()]
    return {"columns": columns, "rows": rows}


def test_pages_show_what_their_files_say(figures: Any) -> None:
    for path in PAGES.glob("*.md"):
        text = path.read_text("utf-8")
        assert figures.page(text, PAGES) == text, "run: python benchmarks/figures.py pages"


def test_every_file_is_shown() -> None:
    table, link = r"<!-- (\S+\.json) -->", r"\(benchmarks/(\S+\.json)\)"
    text = "".join(path.read_text("utf-8") for path in PAGES.parent.rglob("*.md"))
    shown = {*re.findall(table, text), *re.findall(link, text)}
    # No GPU was to be had yet.
    assert shown - {"gpu.json"} == {path.name for path in PAGES.glob("*.json")} - {"gpu.json"}


def test_a_table_from_a_file(figures: Any, tmp_path: Path) -> None:
    figures.add(tmp_path / "a.json", table(one=1.25, two=3), "numpy")
    before = "# Page\n\n<!-- a.json -->\nold\n<!-- end -->\nafter\n"
    lines = figures.page(before, tmp_path).splitlines()
    assert lines[3:8] == [
        "| case | time, s | rows |", "|---|---:|---:|", "| one | 1.2 | 5,000 |",
        "| two | 3.0 | 5,000 |", "",
    ]  # fmt: skip
    assert re.fullmatch(
        r"\d+ cores of an .+, \d+ GB, .+, \d{4}-\d\d-\d\d, commit \S+; numpy \S+, python 3\S+\.",
        lines[8],
    )
    assert lines[9:] == ["<!-- end -->", "after"]


def test_a_table_takes_the_place_of_one_with_its_cases(figures: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for values in ({"one": 1}, {"two": 2}, {"one": 5, "three": 3}):
        figures.add(path, table(**values))
    rows = [[row["case"] for row in one["rows"]] for one in figures.read(path)["tables"]]
    assert rows == [["two"], ["one", "three"]]


def test_what_changed(
    figures: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures.add(tmp_path / "a.json", table(one=2, two=1))
    figures.add(tmp_path / "b.json", table(one=3, three=1))
    command = ["figures.py", "compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    monkeypatch.setattr(sys, "argv", command)
    figures.main()
    assert capsys.readouterr().out.splitlines()[2:] == [
        "one, time, s: 2 -> 3 (x 1.50)",
        "three, rows: only in the new file",
        "three, time, s: only in the new file",
        "two, rows: only in the old file",
        "two, time, s: only in the old file",
    ]

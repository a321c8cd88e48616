"""Reading the files that data sets come with: tables as text or .xlsx, and large JSON.

Every error names the file, the line, the column, what was found and what was expected.
"""

from __future__ import annotations

import csv
import json
import math
import re
import zipfile
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from featcache.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

Row = dict[str, str]


def read_rows(
    file: Path, columns: Sequence[str], delimiter: str = ","
) -> Iterator[tuple[str, Row]]:
    """Read a table with a header.

    Args:
        file: CSV (or another delimiter), or an .xlsx workbook, of which the first sheet is read.
        columns: Columns that must be there; others are read too.
        delimiter: Of a text file.

    Yields:
        Where the row stands (file and line), and its cells as text by column name.

    Raises:
        DatasetError: The file is not such a table.
    """
    lines = _xlsx_lines(file) if file.suffix.lower() == ".xlsx" else _text_lines(file, delimiter)
    _, first = next(lines, (0, []))
    header = [name.strip() for name in first]
    if missing := [name for name in columns if name not in header]:
        raise DatasetError(
            f"{file}, line 1: found columns {', '.join(header) or 'none'}; expected {missing[0]!r}"
        )
    for number, cells in lines:
        where = f"{file}, line {number}"
        if len(cells) != len(header):
            raise DatasetError(f"{where}: found {len(cells)} cells, expected {len(header)}")
        yield where, dict(zip(header, (cell.strip() for cell in cells), strict=True))


def read_lines(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Read text of cells between blanks, without a header.

    Yields:
        Where the line stands (file and line), and its cells. Empty lines are skipped.

    Raises:
        DatasetError: The file is not text.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: not text in UTF-8: {error}") from error
    for line, content in enumerate(text.splitlines(), start=1):
        if cells := content.split():
            yield f"{file}, line {line}", cells


def number(where: str, row: Row, column: str, low: float, high: float) -> float:
    """Read a cell as a number between ``low`` and ``high``; raises DatasetError if it is not."""
    return parse_number(f"{where}, column {column}", row[column], low, high)


def parse_number(where: str, text: str, low: float, high: float) -> float:
    """Read text as a number between ``low`` and ``high``; raises DatasetError if it is not."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise DatasetError(f"{where}: found {text!r}, expected a number in {low:g} ... {high:g}")
    return value


def shares(where: str, counts: Sequence[float]) -> tuple[float, ...]:
    """Scale counts of ratings to shares with sum 1; raises DatasetError when there are none."""
    total = math.fsum(counts)
    if total <= 0 or min(counts) < 0:
        raise DatasetError(f"{where}: found ratings {list(counts)}, expected counts above 0")
    return tuple(count / total for count in counts)


def read_json(file: Path, keep: Collection[str]) -> dict[str, Any]:
    """Read a JSON object, keeping of all objects inside it only some fields.

    COCO's annotations are 450 MB of text, nearly all of it outlines that nobody counts with.
    Dropping them while parsing keeps the memory near the size of the file.

    Args:
        file: The file.
        keep: Names of the fields that are kept, at every level.

    Raises:
        DatasetError: The file is not a JSON object.
    """
    try:
        content = json.loads(
            file.read_bytes(),
            object_hook=lambda item: {key: item[key] for key in item.keys() & keep},
        )
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{file}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{file}: found {type(content).__name__}, expected a JSON object")
    return content


def _text_lines(file: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, delimiter=delimiter)
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: not a text table in UTF-8: {error}") from error


_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def _xlsx_lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of the first sheet: an .xlsx file is a ZIP of XML (ECMA-376, part 1, 18)."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            texts: list[str] = []
            if "xl/sharedStrings.xml" in names:
                root = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
                texts = ["".join(t.text or "" for t in item.iter(f"{_SHEET}t")) for item in root]
            sheet = min(n for n in names if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", n))
            rows = list(ElementTree.fromstring(archive.read(sheet)).iter(f"{_SHEET}row"))
    except (OSError, zipfile.BadZipFile, ElementTree.ParseError, ValueError, KeyError) as error:
        raise DatasetError(f"{file}: not an .xlsx workbook: {error}") from error
    width = 0
    for place, row in enumerate(rows, start=1):
        cells: dict[int, str] = {}
        for order, cell in enumerate(row.iter(f"{_SHEET}c")):
            letters = re.match(r"[A-Z]+", cell.get("r", ""))
            column = _column(letters.group()) if letters else order
            kind, value = cell.get("t"), cell.find(f"{_SHEET}v")
            if kind == "inlineStr":
                cells[column] = "".join(t.text or "" for t in cell.iter(f"{_SHEET}t"))
            elif value is not None and value.text:
                cells[column] = _shared(file, texts, value.text) if kind == "s" else value.text
        if cells:  # trailing empty rows are common
            width = width or max(cells) + 1
            yield int(row.get("r", place)), [cells.get(i, "") for i in range(width)]


def _shared(file: Path, texts: list[str], index: str) -> str:
    if not index.isdecimal() or int(index) >= len(texts):
        raise DatasetError(f"{file}: found text number {index}, expected one of {len(texts)}")
    return texts[int(index)]


def _column(letters: str) -> int:
    """Number of a column from its letters: A is 0, AA is 26."""
    out = 0
    for letter in letters:
        out = out * 26 + ord(letter) - ord("A") + 1
    return out - 1

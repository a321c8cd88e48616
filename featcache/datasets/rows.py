"""Reading the files that data sets come with: tables as text or .xlsx, and large JSON.

Every error names the file, the line, the column, what was found and what was expected.
"""

from __future__ import annotations

import csv
import json
import math
import posixpath
import re
import zipfile
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from featcache.errors import DatasetError
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

Row = dict[str, str]


def read_rows(
    file: Path, columns: Sequence[str], delimiter: str = ","
) -> Iterator[tuple[str, Row]]:
    """Read a table with a header.

    Args:
        file: CSV (or another delimiter), or an .xlsx workbook, of which the first sheet with the
            columns is read.
        columns: Columns that must be there; others are read too.
        delimiter: Of a text file.

    Yields:
        Where the row stands (file and line), and its cells as text by column name.

    Raises:
        DatasetError: The file is not such a table.
    """
    tables = _workbook(file) if file.suffix.lower() == ".xlsx" else [_text_lines(file, delimiter)]
    headers = []
    for lines in tables:
        header = [name.strip() for name in next(lines, (0, [""]))[1]]
        headers.append(header)
        if missing := [name for name in columns if name not in header]:
            continue
        break
    else:
        more = f" in the first of {len(headers)} sheets" if len(headers) > 1 else ""
        missing = [name for name in columns if name not in headers[0]]
        raise DatasetError(
            f"{file}, line 1: found columns {', '.join(headers[0]) or 'none'}{more}; "
            f"expected {missing[0]!r}"
        )
    for number, cells in lines:
        where = f"{file}, line {number}"
        if len(cells) != len(header):
            raise DatasetError(
                f"{where}: found {quantity(len(cells), 'cell')}, expected {len(header)}"
            )
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


def rating_shares(where: Sequence[str], counts: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Scale counts of ratings, written as text [n, r], to shares float64 [n, r] with sum 1.

    Raises:
        DatasetError: A count is not a number from 0 to 1e9, or a row has none.
    """
    try:
        numbers = np.array(counts, np.float64).reshape(len(where), -1)
        good = (numbers >= 0).all(1) & (numbers <= 1e9).all(1) & (numbers.sum(1) > 0)
    except ValueError:
        numbers, good = np.empty((0, 0)), np.zeros(len(where), bool)
    for row in map(int, np.flatnonzero(~good)):  # which says what is wrong with the first that is
        shares(where[row], [parse_number(where[row], cell, 0, 1e9) for cell in counts[row]])
    out: NDArray[np.float64] = numbers / numbers.sum(1, keepdims=True)
    return out


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
                if any(cell.strip() for cell in cells):  # spreadsheets end with empty rows
                    yield reader.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: not a text table in UTF-8: {error}") from error


_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


_LINK = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def _workbook(file: Path) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Yield the sheets in the order of their tabs, each as its rows.

    An .xlsx file is a ZIP of XML (ECMA-376, part 1, 18).
    """
    try:
        with zipfile.ZipFile(file) as archive:
            texts: list[str] = []
            if "xl/sharedStrings.xml" in archive.namelist():
                root = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
                texts = ["".join(t.text or "" for t in item.iter(f"{_SHEET}t")) for item in root]
            for place in _sheets(archive):
                rows = list(ElementTree.fromstring(archive.read(place)).iter(f"{_SHEET}row"))
                yield _sheet_lines(file, texts, rows)
    except (OSError, zipfile.BadZipFile, ElementTree.ParseError, ValueError, KeyError) as error:
        raise DatasetError(f"{file}: not an .xlsx workbook: {error}") from error


def _sheets(archive: zipfile.ZipFile) -> list[str]:
    """Return the places of the sheets, in the order of their tabs."""
    names = [n for n in archive.namelist() if re.fullmatch(r"xl/worksheets/[^/]+\.xml", n)]
    if not names:
        raise ValueError("no sheet in it")
    if "xl/workbook.xml" not in archive.namelist():
        return sorted(names, key=lambda name: (len(name), name))  # sheet2 before sheet10
    links = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    target = {link.get("Id"): link.get("Target", "") for link in links}
    tabs = ElementTree.fromstring(archive.read("xl/workbook.xml")).iter(f"{_SHEET}sheet")
    places = [posixpath.join("xl", target[tab.get(_LINK)]).lstrip("/") for tab in tabs]
    return [place for place in places if place in names]  # others are charts


def _sheet_lines(
    file: Path, texts: list[str], rows: list[ElementTree.Element]
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a sheet that hold something: number and cells."""
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

"""The cells of a user's table in columns: CSV, TSV or Parquet, read by pyarrow.

Columns are found by name, and by the names that others use (``ALIASES``) where ours is not there.
Cells come as text without blanks around it, ``value`` as numbers; rows without anything in them are
left out. Whatever is wrong is named by file, line (Parquet: row), column and content. Lines are
looked up when there is something to say, so reading costs nothing for them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from featcache.datasets.dialect import Dialect
from featcache.datasets.records import LARGEST_VALUE
from featcache.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Column = pa.ChunkedArray[Any]

pc: Any = pyarrow.compute  # its stubs take no text for a scalar

SUFFIXES = (".csv", ".tsv", ".parquet")
COLUMNS = ("path", "sample_id", "query", "value", "task", "split", "fold")

# What others call our columns: the released code (filepath, title), spreadsheets, other tools.
ALIASES = {
    "path": ("filepath", "file_path", "filename", "file_name", "file", "image", "image_path"),
    "query": ("title", "prompt"),
    "value": ("label", "score"),
}

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_DECIMAL_COMMA = r"^[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class Header:
    """What the first line says.

    Attributes:
        found: Our name of a column to its place.
        names: The names as they are written, by place.
    """

    found: dict[str, int]
    names: list[str]

    @property
    def unread(self) -> list[str]:
        """Names of the columns that are not read."""
        read = set(self.found.values())
        return [name for place, name in enumerate(self.names) if place not in read and name]

    @property
    def renamed(self) -> dict[str, str]:
        """Our name of a column to the other one that stands in the file."""
        pairs = {ours: self.names[place] for ours, place in self.found.items()}
        return {ours: name for ours, name in pairs.items() if name.lower() != ours}


@dataclass(frozen=True)
class Cells:
    """The columns of a table.

    Attributes:
        file: The table.
        header: Its first line.
        columns: Our name of a column to its text, "" where a cell is empty; each [n].
        numbers: int64 [n], the rows' numbers in the file, from 0; empty rows are not among them.
        values: float64 [n], NaN where there is none; None without a column ``value``.
        dialect: Of a text file; None for Parquet.
        empty: Number of rows with nothing in them.
    """

    file: Path
    header: Header
    columns: dict[str, Column]
    numbers: NDArray[np.int64]
    values: NDArray[np.float64] | None
    dialect: Dialect | None
    empty: int

    def where(self, row: int) -> str:
        """Say where a row stands in the file."""
        number = int(self.numbers[row])
        if self.dialect is None:
            return f"{self.file}, row {number}"
        return f"{self.file}, line {self.dialect.line(number)}"

    def require(self, good: Column, column: str, expected: str) -> None:
        """Raise DatasetError for the first row [n] of a column that is not good."""
        if (row := pc.index(good, pa.scalar(False)).as_py()) >= 0:
            found = self.columns[column][row].as_py()
            self.refuse(row, column, f"found {found!r}, expected {expected}")

    def refuse(self, row: int, column: str, message: str) -> None:
        """Raise DatasetError about a cell."""
        named = self.header.renamed.get(column)
        read = f" (the file calls this column {named!r})" if named else ""
        raise DatasetError(f"{self.where(row)}, column {column}: {message}{read}")


def read_cells(file: Path) -> Cells:
    """Read a table.

    Raises:
        DatasetError: It is no such table, or a cell of ``value`` is not a number.
    """
    dialect = None if file.suffix.lower() == ".parquet" else Dialect(file)
    header, table = _read_parquet(file) if dialect is None else _read_text(dialect)
    columns = {name: _text(table[name], file, name) for name in header.found if name != "value"}
    numeric = "value" in header.found and not _is_text(table["value"].type)
    if "value" in header.found and not numeric:
        columns["value"] = _text(table["value"], file, "value")
    numbers = np.arange(table.num_rows)
    values = _floats(table["value"], file) if numeric else None
    filled = np.zeros(table.num_rows, bool) if values is None else ~np.isnan(values)
    for column in columns.values():
        filled |= pc.not_equal(column, "").to_numpy()
        if filled.all():
            break
    else:
        mask = pa.array(filled)
        columns = {name: column.filter(mask) for name, column in columns.items()}
        numbers = numbers[filled]
        values = None if values is None else values[filled]
    empty = table.num_rows - len(numbers)
    cells = Cells(file, header, columns, numbers, values, dialect, empty)
    if "value" not in header.found:
        return cells
    if values is None:
        values = _parsed(cells, decimal_comma=dialect is not None and dialect.delimiter != ",")
    if (bad := np.flatnonzero(np.abs(values) > LARGEST_VALUE)).size:
        found = f"{values[bad[0]]:g}" if numeric else repr(columns["value"][int(bad[0])].as_py())
        cells.refuse(
            int(bad[0]), "value", f"found {found}, expected a finite number, at most 1e30 in size"
        )
    return replace(cells, values=values)


def _header(file: Path, names: list[str]) -> Header:
    """Find our columns; ``path`` must be among them, and none twice."""
    names = [name.strip() for name in names]
    lower = [name.lower() for name in names]
    found: dict[str, int] = {}
    for ours in COLUMNS:
        for name in (ours, *ALIASES.get(ours, ())) if ours not in found else ():
            if name in lower and ours not in found:
                found[ours] = lower.index(name)
        written = [name for name in (ours, *ALIASES.get(ours, ())) if name in lower]
        # Our own name has the say; two of the others' could each be meant.
        meant = [ours] if ours in written else written
        if sum(map(lower.count, meant)) > 1:
            twice = f"{ours!r} is" if len(meant) == 1 else f"{' and '.join(map(repr, meant))} are"
            raise DatasetError(
                f"{file}, line 1: column {twice} there{' twice' if len(meant) == 1 else ''}; "
                f"expected one {ours!r}: rename or remove the other"
            )
    if "path" not in found:
        raise DatasetError(
            f"{file}, line 1: found columns {', '.join(names)}; expected 'path', the image's "
            "path below the root"
        )
    return Header(found, names)


def _read_text(dialect: Dialect) -> tuple[Header, pa.Table]:
    """Read CSV or TSV; every column is text."""
    file = dialect.file
    line, names = next(dialect.rows(), (1, [""]))
    header = _header(file, names)
    places = [str(place) for place in range(len(names))]
    ours = {name: str(place) for name, place in header.found.items()}
    try:
        # One row after the other may break lines within quotation marks, so no row is known to
        # begin at a line's beginning: pyarrow finds out, and counts cells.
        table = pacsv.read_csv(
            file,
            read_options=pacsv.ReadOptions(column_names=places, skip_rows=line),
            parse_options=pacsv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(ours.values()),
                column_types=dict.fromkeys(ours.values(), pa.string()),
                strings_can_be_null=False,
            ),
        )
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        dialect.check(len(names))  # says where, and more clearly
        if "Empty CSV file" in str(error):
            return header, pa.table(dict.fromkeys(ours, pa.array([], pa.string())))
        raise DatasetError(f"{file}: not a table in UTF-8: {error}") from error
    if _quotation_marks(file) % 2:
        dialect.check(len(names))
    return header, table.rename_columns(list(ours))


def _quotation_marks(file: Path) -> int:
    """Count the quotation marks of a file; pyarrow takes one that is never closed as closed."""
    with file.open("rb") as stream:
        return sum(block.count(b'"') for block in iter(lambda: stream.read(1 << 22), b""))


def _read_parquet(file: Path) -> tuple[Header, pa.Table]:
    try:
        with pq.ParquetFile(file) as parquet:
            names = parquet.schema_arrow.names
            header = _header(file, names)
            table = parquet.read([names[place] for place in header.found.values()])
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: not a Parquet table: {error}") from error
    return header, pa.table({ours: table[names[n]] for ours, n in header.found.items()})


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _text(column: Column, file: Path, name: str) -> Column:
    """Return a column as text without blanks around it; "" where a cell is empty."""
    try:
        if pa.types.is_floating(column.type):  # pandas writes integers with absent ones as floats
            floats = column.cast(pa.float64())
            absent = pc.is_nan(floats)
            whole = pc.equal(pc.floor(floats), floats)
            if pc.all(pc.or_kleene(absent, whole), min_count=0).as_py() is not False:
                column = pc.if_else(absent, None, floats).cast(pa.int64())
            else:
                column = pc.if_else(absent, None, floats)
        if not pa.types.is_string(column.type):
            column = column.cast(pa.string())
        if column.null_count:
            column = pc.fill_null(column, "")
        trimmed: Column = pc.utf8_trim_whitespace(column)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}, column {name}: expected text: {error}") from error
    return trimmed


def _floats(column: Column, file: Path) -> NDArray[np.float64]:
    """Return a column of numbers as float64 [n]; NaN where a cell is empty."""
    try:
        floats = column.cast(pa.float64())
    except pa.ArrowException as error:
        raise DatasetError(f"{file}, column value: expected numbers: {error}") from error
    filled: NDArray[np.float64] = pc.fill_null(floats, float("nan")).to_numpy()
    return filled


def _parsed(cells: Cells, *, decimal_comma: bool) -> NDArray[np.float64]:
    """Read the text of ``value`` as float64 [n]; NaN where a cell is empty."""
    text = cells.columns["value"]
    empty = pc.equal(text, "")
    number = pc.match_substring_regex(text, _NUMBER)
    expected = "a finite number"
    if not pc.all(pc.or_(number, empty), min_count=0).as_py():
        comma = pc.match_substring_regex(text, _DECIMAL_COMMA)
        whole = pc.invert(pc.match_substring(text, "."))
        if (
            decimal_comma
            and pc.all(pc.or_(pc.or_(comma, empty), pc.and_(number, whole)), min_count=0).as_py()
        ):
            text = pc.replace_substring(text, ",", ".")
        else:
            good = pc.or_(number, empty)
            row = pc.index(good, pa.scalar(False)).as_py()
            if comma[row].as_py():
                expected += " with a decimal point; a comma is read where cells are separated by "
                expected += "semicolons or tabs and no number has a point"
            cells.require(good, "value", expected)
    text = pc.utf8_ltrim(pc.if_else(empty, "nan", text), characters="+")
    values: NDArray[np.float64] = text.cast(pa.float64()).to_numpy()
    return values

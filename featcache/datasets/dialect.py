"""How a text table writes its cells, and in which line a row stands."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from featcache.errors import DatasetError
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Dialect:
    """How a text file writes its cells: tabs, semicolons or commas, by its first line.

    A first line ``sep=;``, as Excel takes it, is read too.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            with file.open(encoding="utf-8-sig", newline="") as stream:
                first = stream.readline()
                self.skipped = 1 if first.lower().startswith("sep=") else 0
                names = stream.readline() if self.skipped else first
                if self.skipped:
                    self.delimiter = first.strip()[4:] or ","
                else:
                    self.delimiter = max("\t;,", key=lambda sign: (names.count(sign), sign == ","))
                    self.delimiter = "\t" if "\t" in names else self.delimiter
        except (OSError, UnicodeDecodeError) as error:
            raise self._not_text(error) from error

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the line where a row ends, and its cells; lines with nothing in them are no rows.

        Raises:
            DatasetError: The file is not text, or a quotation mark is not closed.
        """
        line = 0
        try:
            with self.file.open(encoding="utf-8-sig", newline="") as stream:
                for _ in range(self.skipped):
                    stream.readline()
                reader = csv.reader(stream, delimiter=self.delimiter, strict=True)
                for cells in reader:
                    line = reader.line_num + self.skipped
                    if cells:
                        yield line, cells
        except (OSError, UnicodeDecodeError) as error:
            raise self._not_text(error) from error
        except csv.Error as error:
            raise DatasetError(f"{self.file}, line {line + 1}: {error}") from error

    def line(self, number: int) -> int:
        """Return the line of a row below the header, the first row being 0."""
        return next(line for n, (line, _) in enumerate(self.rows(), start=-1) if n == number)

    def check(self, width: int) -> None:
        """Raise DatasetError for the first row that has another number of cells."""
        for line, cells in self.rows():
            if len(cells) != width:
                raise DatasetError(
                    f"{self.file}, line {line}: found {quantity(len(cells), 'cell')}, expected "
                    f"{width}"
                )

    def _not_text(self, error: Exception) -> DatasetError:
        return DatasetError(
            f"{self.file}: expected text in UTF-8: {error}; save the table as CSV in UTF-8"
        )

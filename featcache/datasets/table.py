"""Any images, with labels from a table: CSV, TSV or Parquet.

    featcache extract --dataset table --root photos --option table=labels.csv --out cache

Columns, found by name in the first line; only ``path`` must be there, others are ignored:

| column | meaning | when absent or empty |
|---|---|---|
| ``path`` | POSIX path of the image below the root | an error |
| ``sample_id`` | id of the image | the path |
| ``query`` | the prompt that the images are ranked by | the option ``query`` |
| ``value`` | a finite number | the image has no label in this row |
| ``task`` | name of a family of queries | the option ``task`` |
| ``split`` | ``train``, ``val``, ``test`` or ``all`` | ``all`` |
| ``fold`` | number of the split, 0 or more | the row holds for every fold |

Several rows for one image are several labels. Rows that say the same twice count once; rows that
contradict each other are an error, as is any value that is not of its kind.

The tab-separated tables of the released code (``filepath, title, cname, value``, e.g.
``examples/example-count-df.csv``) are read as they are: ``title`` is the query; ``cname``, the
category that the code samples by, is already in the title. Their paths are absolute paths of the
author's machine: take the beginning away with ``strip_prefix=/mnt/.../COCO/``, or find each image
below the root by its file name alone with ``match=name``.
"""

from __future__ import annotations

import csv
import math
import re
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from featcache.datasets.base import (
    SPLIT_FILE,
    Dataset,
    DatasetInfo,
    ImageRecord,
    Label,
    Option,
    safe_relative,
    walk_images,
)
from featcache.datasets.records import SPLITS
from featcache.errors import DatasetError, DatasetNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUFFIXES = (".csv", ".tsv", ".parquet")
_ALIASES = {"filepath": "path", "title": "query"}  # the released code's names
_COLUMNS = ("path", "sample_id", "query", "value", "task", "split", "fold")


class Table(Dataset):
    """Images and labels that a table lists."""

    info = DatasetInfo(
        name="table",
        title="Table of images",
        task="whatever the table's queries say",
        num_images=None,
        license="your own data",
        source="a CSV, TSV or Parquet file with a column 'path'",
        layout=(
            "ROOT/\n"
            "  labels.csv          path and any of query, value, task, split, fold, sample_id\n"
            "  ...                 the images, at the paths that the table gives"
        ),
        options={
            "table": Option(help="the table; by default the only .csv, .tsv or .parquet in ROOT"),
            "query": Option(help="prompt of rows without a query", default="Sort images by value."),
            "task": Option(help="task of rows without one", default="table"),
            "strip_prefix": Option(help="text taken away from the beginning of each path"),
            "match": Option(
                help="path: below ROOT; name: find the file name anywhere below ROOT",
                default="path",
                choices=("path", "name"),
            ),
            "split_file": SPLIT_FILE,
        },
    )

    def require(self) -> None:
        """Raise DatasetNotFoundError when the root or the table is missing."""
        super().require()
        _ = self.table

    def images(self) -> list[ImageRecord]:
        """List all images of the table, on the disk or not.

        An image that is missing is the user's to know about: extraction records it as failed.
        """
        self.require()
        return self._annotated

    def annotated(self) -> list[ImageRecord]:
        """List the images in the order of their first rows."""
        return self._content[0]

    def annotations(self) -> list[Label]:
        """List the labels in the order of the rows."""
        return self._content[1]

    @cached_property
    def table(self) -> Path:
        """The table's file.

        Raises:
            DatasetNotFoundError: There is none, or more than one and none was chosen.
        """
        if (given := self.options["table"]) is not None:
            for path in (self.root / given, Path(given)):
                if path.is_file():
                    return path
            raise DatasetNotFoundError(f"there is no table {given}, neither below {self.root}")
        found = sorted(p for p in self.root.glob("*") if p.suffix.lower() in _SUFFIXES)
        if len(found) != 1:
            listed = f": {', '.join(p.name for p in found)}" if found else ""
            raise DatasetNotFoundError(
                f"{self.root} holds {len(found)} tables{listed}; "
                f"expected one, or the option table=FILE. {self._expected()}"
            )
        return found[0]

    @cached_property
    def _content(self) -> tuple[list[ImageRecord], list[Label]]:
        paths: dict[str, str] = {}  # sample id -> path
        values: dict[tuple[str, str, str, str, int | None], float] = {}
        for where, row in self._rows():
            path = self._path(where, row)
            sample = row.get("sample_id") or path
            if paths.setdefault(sample, path) != path:
                raise DatasetError(
                    f"{where}, column sample_id: found {sample!r} for {path}, "
                    f"expected it for {paths[sample]} only"
                )
            if not row.get("value"):
                continue
            key = (
                sample,
                row.get("task") or self.options["task"],
                row.get("query") or self.options["query"],
                _split(where, row.get("split", "")),
                _fold(where, row.get("fold", "")),
            )
            value = _number(where, row["value"])
            if values.setdefault(key, value) != value:
                raise DatasetError(
                    f"{where}, column value: found {value:g}, expected {values[key]:g} "
                    f"as in another row for {path} and {key[2]!r}"
                )
        images = [ImageRecord(sample, path) for sample, path in paths.items()]
        if not images:
            raise DatasetError(f"{self.table}: found no row below the header, expected one or more")
        labels = [
            Label(sample, task, query, value, split, fold)
            for (sample, task, query, split, fold), value in values.items()
        ]
        return images, labels

    def _rows(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield where a row stands, and its cells as text; an empty cell is empty text."""
        parquet = self.table.suffix.lower() == ".parquet"
        for where, row in _read_parquet(self.table) if parquet else _read_text(self.table):
            yield f"{self.table}, {where}", row

    def _path(self, where: str, row: dict[str, str]) -> str:
        given = path = row["path"]
        if prefix := self.options["strip_prefix"]:
            if not path.startswith(prefix):
                raise DatasetError(
                    f"{where}, column path: found {given!r}, expected it to begin with {prefix!r}"
                )
            path = path[len(prefix) :].lstrip("/")
        if self.options["match"] == "name":
            name = PureWindowsPath(path).name  # splits at both kinds of slash
            places = self._by_name.get(name, ())
            if len(places) != 1:
                found = f"{len(places)} files of that name" if places else "no file of that name"
                raise DatasetError(
                    f"{where}, column path: {given!r}: found {found} below {self.root}, "
                    "expected one"
                )
            return places[0]
        try:
            safe_relative(self.root, path)
        except DatasetError as error:
            raise DatasetError(
                f"{where}, column path: {error} (or use the option strip_prefix, or match=name)"
            ) from error
        return PurePosixPath(path).as_posix()

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        out: dict[str, list[str]] = {}
        for path in sorted(walk_images(self.root)):
            out.setdefault(PurePosixPath(path).name, []).append(path)
        return out


def _header(file: Path, header: list[str]) -> list[str]:
    """Translate column names; ``path`` must be among them, and none twice."""
    columns = [_ALIASES.get(name.strip().lower(), name.strip().lower()) for name in header]
    if "path" not in columns:
        raise DatasetError(f"{file}, line 1: found columns {', '.join(header)}; expected 'path'")
    known = [name for name in columns if name in _COLUMNS]
    if twice := {name for name in known if known.count(name) > 1}:
        raise DatasetError(f"{file}, line 1: column {min(twice)!r} is there twice; expected once")
    return columns


def _read_text(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Read CSV or TSV; a tab in the first line means tabs, whatever the file is called."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            tabs = "\t" in stream.readline()
            stream.seek(0)
            lines = csv.reader(stream, delimiter="\t" if tabs else ",", strict=True)
            columns = _header(file, next(lines, []))
            for cells in lines:
                if not cells:
                    continue
                where = f"line {lines.line_num}"
                if len(cells) != len(columns):
                    raise DatasetError(
                        f"{file}, {where}: found {len(cells)} cells, expected {len(columns)}"
                    )
                yield where, dict(zip(columns, map(str.strip, cells), strict=True))
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: expected text in UTF-8: {error}") from error
    except csv.Error as error:
        raise DatasetError(f"{file}, line {lines.line_num}: {error}") from error


def _read_parquet(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{file}: not a Parquet table: {error}") from error
    columns = _header(file, table.column_names)
    cells = [table.column(i).to_pylist() for i in range(table.num_columns)]
    for number, row in enumerate(zip(*cells, strict=True)):
        yield f"row {number}", dict(zip(columns, map(_text, row), strict=True))


def _text(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""  # pandas writes an absent number as NaN
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))  # and integers with absent ones among them as floats
    return str(cell).strip()


def _number(where: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(f"{where}, column value: found {text!r}, expected a finite number")
    return value


def _split(where: str, text: str) -> str:
    split = text.lower() or "all"
    if split not in SPLITS:
        raise DatasetError(
            f"{where}, column split: found {text!r}, expected {', '.join(SPLITS)} or nothing"
        )
    return split


def _fold(where: str, text: str) -> int | None:
    if text and not re.fullmatch(r"[0-9]{1,9}", text):
        raise DatasetError(f"{where}, column fold: found {text!r}, expected 0, 1, 2 ... or nothing")
    return int(text) if text else None

"""Any images, with labels from a table: CSV, TSV or Parquet.

    featcache extract --dataset table --root photos --option table=labels.csv --out cache

Columns, found by name in the first line; only ``path`` must be there:

| column | meaning | when absent or empty |
|---|---|---|
| ``path`` | POSIX path of the image below the root | an error |
| ``sample_id`` | id of the image | the path |
| ``query`` | the prompt that the images are ranked by | the option ``query`` |
| ``value`` | a finite number | the image has no label in this row |
| ``task`` | name of a family of queries | the option ``task`` |
| ``split`` | ``train``, ``val``, ``test`` or ``all`` | ``train`` |
| ``fold`` | number of the split, 0 or more | the row holds for every fold |

Where one of them is not there, the names of others are read instead (``cells.ALIASES``):
``filepath``, ``filename``, ``file``, ``image`` ... for ``path``, ``title`` or ``prompt`` for
``query``, ``label`` or ``score`` for ``value``. Cells are separated by commas, semicolons or tabs;
with the last two, numbers may have a decimal comma. Rows with nothing in them are left out. A
Windows table's backslashes are read as slashes, and names in the other Unicode form than on the
disk are found.

Several rows for one image are several labels. Rows that say the same twice count once; rows that
contradict each other are an error, as is any value that is not of its kind.

The tab-separated tables of the released code (``filepath, title, cname, value``, e.g.
``examples/example-count-df.csv``) are read as they are: ``title`` is the query; ``cname``, the
category that the code samples by, is already in the title. Their paths are absolute paths of the
author's machine: take the beginning away with ``strip_prefix=/mnt/.../COCO/``, or find each image
below the root by its file name alone with ``match=name``.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from featcache.datasets.base import SPLIT_FILE, Dataset, DatasetInfo, Option, walk_images
from featcache.datasets.cells import SUFFIXES, Cells, read_cells
from featcache.datasets.columns import (
    IMAGES_SCHEMA,
    LABELS_SCHEMA,
    decode,
    encode,
    first_rows,
)
from featcache.datasets.paths import UnsafePathError, checked_paths, composed, folders_of
from featcache.datasets.records import SPLITS
from featcache.datasets.stand_in import is_marked
from featcache.errors import DatasetError, DatasetNotFoundError
from featcache.wording import quantity

if TYPE_CHECKING:
    from numpy.typing import NDArray

pc: Any = pyarrow.compute  # its stubs take no text for a scalar

_SPLITS = f"{', '.join(SPLITS)} or nothing"


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
            "strip_prefix": Option(help="text to remove from the start of each path"),
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

    def images_table(self) -> pa.Table:
        """Return all images of the table, on the disk or not.

        An image that is missing is the user's to know about: extraction records it as failed.
        """
        if type(self).images is Dataset.images:
            self.require()
            return self._content[0]
        return super().images_table()

    def labels_table(self) -> pa.Table:
        """Return the labels of the table: each once already, and all of them of listed images."""
        if type(self).labels is Dataset.labels and self.options["split_file"] is None:
            self.require()
            return self._content[1]
        return super().labels_table()

    def annotated_table(self) -> pa.Table:
        """Return the images in the order of their first rows."""
        return self._content[0]

    def annotations_table(self) -> pa.Table:
        """Return the labels in the order of the rows."""
        return self._content[1]

    def notes(self) -> list[str]:
        """Tell which columns and rows are not read as they may be meant."""
        cells, out = self._cells, []
        for ours, name in cells.header.renamed.items():
            out.append(f"column {name!r} is read as {ours}")
        if unread := cells.header.unread:
            out.append(f"columns that are not read: {', '.join(unread[:10])}")
        if cells.empty:
            out.append(f"left out: {quantity(cells.empty, 'empty row')}")
        if cells.values is not None and (absent := np.flatnonzero(np.isnan(cells.values))).size:
            out.append(
                f"{quantity(absent.size, 'row')} without a value, so without a label; the first is "
                f"{cells.where(int(absent[0]))}"
            )
        return out

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
            raise DatasetNotFoundError(
                f"there is no table {given}: looked for {self.root / given} and {given}"
            )
        files = (p for p in self.root.glob("*") if p.suffix.lower() in SUFFIXES)
        found = sorted(p for p in files if not p.name.startswith("."))
        if len(found) != 1:
            listed = f": {', '.join(p.name for p in found)}" if found else ""
            raise DatasetNotFoundError(
                f"{self.root} holds {len(found)} tables{listed}; "
                f"expected one, or the option table=FILE. {self._expected()}"
            )
        return found[0]

    @cached_property
    def stand_in(self) -> bool:
        """Whether any of the images lies in a drawn stand-in of a data set."""
        return is_marked(self.root, folders_of(self.annotated_table()["path"]))

    @cached_property
    def _cells(self) -> Cells:
        return read_cells(self.table)

    @cached_property
    def _content(self) -> tuple[pa.Table, pa.Table]:
        """The images and the labels of the table."""
        cells = self._cells
        if not len(cells.numbers):
            raise DatasetError(f"{self.table}: found no row below the header, expected one or more")
        paths = self._paths(cells)
        path_codes, unique_paths = encode(paths)
        samples, sample_codes, unique_samples = paths, path_codes, unique_paths
        if "sample_id" in cells.columns:
            given = cells.columns["sample_id"]
            samples = pc.if_else(pc.equal(given, ""), paths, given)
            sample_codes, unique_samples = encode(samples)
        first = first_rows(sample_codes)
        if (bad := np.flatnonzero(path_codes != path_codes[first])).size:
            row, old = int(bad[0]), int(first[bad[0]])
            cells.refuse(
                row,
                "sample_id",
                f"found {samples[row].as_py()!r} for {paths[row]}, "
                f"expected it for {paths[old]} only",
            )
        if len(unique_samples) == len(paths):
            images = pa.table([samples, paths], schema=IMAGES_SCHEMA)
        else:
            rows = np.flatnonzero(first == np.arange(len(first)))
            images = pa.table(
                [unique_samples, paths.take(rows).combine_chunks()], schema=IMAGES_SCHEMA
            )
        return images, self._labels(cells, samples, sample_codes)

    def _labels(
        self, cells: Cells, samples: pa.ChunkedArray[Any], sample_codes: NDArray[np.int64]
    ) -> pa.Table:
        """Return the labels of the rows that have a value; the samples' codes are [n]."""
        if cells.values is None:
            return LABELS_SCHEMA.empty_table()
        columns = {
            "task": self._named(cells, "task", self.options["task"]),
            "query": self._named(cells, "query", self.options["query"]),
            "split": self._splits(cells),
        }
        folds = self._folds(cells)
        values = cells.values
        first = first_rows(
            sample_codes,
            *(codes for codes, _ in columns.values()),
            pc.fill_null(folds, -1).to_numpy().astype(np.int64) + 1,
            np.isnan(values).astype(np.int64),
        )
        if (bad := np.flatnonzero((values != values[first]) & ~np.isnan(values))).size:
            row, old = int(bad[0]), int(first[bad[0]])
            codes, names = columns["query"]
            cells.refuse(
                row,
                "value",
                f"found {values[row]:g}, expected {values[old]:g} as in another row for "
                f"{samples[row]} and {names[int(codes[row])].as_py()!r}",
            )
        keep = (first == np.arange(len(first))) & ~np.isnan(values)
        texts = {name: decode(codes[keep], names) for name, (codes, names) in columns.items()}
        mask = pa.array(keep)
        return pa.table(
            [
                samples if keep.all() else samples.filter(mask),
                texts["task"],
                texts["query"],
                values[keep],
                texts["split"],
                folds.filter(mask),
                pa.nulls(int(keep.sum()), LABELS_SCHEMA.field("distribution").type),
            ],
            schema=LABELS_SCHEMA,
        )

    @staticmethod
    def _named(cells: Cells, column: str, default: str) -> tuple[NDArray[np.int64], pa.Array[Any]]:
        """Return a column as codes [n] and names, with a default for what is empty."""
        if column not in cells.columns:
            return np.zeros(len(cells.numbers), np.int64), pa.array([default], pa.string())
        codes, names = encode(cells.columns[column])
        # Two codes with one name would hide repetitions, so names are encoded again.
        again, names = encode(pc.if_else(pc.equal(names, ""), default, names))
        return again[codes], names

    @staticmethod
    def _splits(cells: Cells) -> tuple[NDArray[np.int64], pa.Array[Any]]:
        """Return the splits as codes [n] and names; a split that is left out is for training."""
        if "split" not in cells.columns:
            return np.zeros(len(cells.numbers), np.int64), pa.array(["train"], pa.string())
        codes, names = encode(cells.columns["split"])
        lower = pc.utf8_lower(names)
        good = pc.is_in(lower, value_set=pa.array([*SPLITS, ""]))
        if not pc.all(good, min_count=0).as_py():
            cells.require(pa.chunked_array([good.take(codes)]), "split", _SPLITS)
        again, names = encode(pc.if_else(pc.equal(lower, ""), "train", lower))
        return again[codes], names

    @staticmethod
    def _folds(cells: Cells) -> pa.Array[Any] | pa.ChunkedArray[Any]:
        """Return the folds [n], null where a row holds for every fold."""
        if "fold" not in cells.columns:
            return pa.nulls(len(cells.numbers), pa.int32())
        codes, names = encode(cells.columns["fold"])
        empty = pc.equal(names, "")
        good = pc.or_(empty, pc.match_substring_regex(names, "^[0-9]{1,9}$"))
        if not pc.all(good, min_count=0).as_py():
            cells.require(pa.chunked_array([good.take(codes)]), "fold", "0, 1, 2 ... or nothing")
        folds: pa.Array[Any] = pc.if_else(empty, None, names).cast(pa.int32())
        return folds.take(codes)

    def _paths(self, cells: Cells) -> pa.ChunkedArray[Any]:
        """Return the paths [n] below the root, as they are on the disk."""
        paths = cells.columns["path"]
        if prefix := self.options["strip_prefix"]:
            begins = pc.starts_with(paths, prefix)
            cells.require(begins, "path", f"it to begin with {prefix!r}")
            paths = pc.utf8_ltrim(
                pc.utf8_slice_codeunits(paths, len(prefix), None), characters="/\\"
            )
        if self.options["match"] == "name":
            return self._matched(cells, paths)
        try:
            return checked_paths(self.root, paths)
        except UnsafePathError as error:
            cells.refuse(
                error.row, "path", f"{error} (or use the option strip_prefix, or match=name)"
            )
            raise

    def _matched(self, cells: Cells, paths: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
        """Find each image by its file name alone."""
        codes, names = encode(pc.replace_substring_regex(paths, r"^.*[/\\]", ""))
        places = [self._by_name.get(composed(str(name)), ()) for name in names]
        count = np.array([len(place) for place in places], int)[codes]
        if (bad := np.flatnonzero(count != 1)).size:
            row = int(bad[0])
            found = f"{count[row]} files of that name" if count[row] else "no file of that name"
            given = cells.columns["path"][row].as_py()
            cells.refuse(row, "path", f"{given!r}: found {found} below {self.root}, expected one")
        return decode(codes, pa.array([place[0] if place else "" for place in places], pa.string()))

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        out: dict[str, list[str]] = {}
        for path in sorted(walk_images(self.root)):
            out.setdefault(composed(PurePosixPath(path).name), []).append(path)
        return out

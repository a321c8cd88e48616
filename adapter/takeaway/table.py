"""An order of photos as a table: CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from featcache.storage.durable import committed, finite, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SUFFIXES = (".csv", ".json", ".parquet")


@dataclass(frozen=True, kw_only=True)
class OrderTable:
    """Photos in their order.

    Attributes:
        paths: [n], the first place first.
        scores: [n].
        more: Name of a column to its numbers [n], or None where there is none.
    """

    paths: Sequence[str]
    scores: Sequence[float]
    more: Mapping[str, Sequence[float | int | str | None]]

    @property
    def columns(self) -> dict[str, Sequence[float | int | str | None]]:
        """All columns, the first ones first."""
        places = range(1, len(self.paths) + 1)
        return {"place": places, "path": self.paths, "score": self.scores, **self.more}

    def to_csv(self) -> str:
        """Return CSV, numbers with six digits."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for row in zip(*self.columns.values(), strict=True):
            writer.writerow(f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row)
        return text.getvalue()

    def to_json(self) -> str:
        """Return a JSON list with an object for each photo."""
        names = list(self.columns)
        rows = [
            dict(zip(names, row, strict=True)) for row in zip(*self.columns.values(), strict=True)
        ]
        return json.dumps(finite(rows), ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    def to_arrow(self) -> pa.Table:
        """Return an Arrow table."""
        columns: dict[str, list[Any]] = {name: [*cells] for name, cells in self.columns.items()}
        return pa.table(columns)

    def to_bytes(self, suffix: str) -> bytes:
        """Return the content of a file of this suffix, one of ``SUFFIXES``."""
        if suffix == ".parquet":
            file = io.BytesIO()
            pq.write_table(self.to_arrow(), file, compression="zstd")
            return file.getvalue()
        return (self.to_json() if suffix == ".json" else self.to_csv()).encode()

    def write(self, path: Path) -> None:
        """Write a file, whole or not at all; its suffix, one of ``SUFFIXES``, decides the form."""
        if path.suffix == ".parquet":
            with committed(path) as temporary:
                pq.write_table(self.to_arrow(), temporary, compression="zstd")
        else:
            write_text(path, self.to_json() if path.suffix == ".json" else self.to_csv())

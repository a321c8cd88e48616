"""Predictions as a table: one row per image and query, as Parquet or CSV."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from adapter.errors import ConfigError
from featcache.storage.durable import write_bytes
from featcache.storage.tables import ok_samples

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adapter.evaluation.results import Evaluation, QueryEvaluation
    from featcache.reading.cache import Cache

ENDINGS = (".parquet", ".csv")
NUMBERS = ("value", "score", "comparison")


def require_table_name(path: Path) -> None:
    """Refuse a name that tells no format.

    Raises:
        ConfigError: It ends neither in .parquet nor in .csv.
    """
    if path.suffix not in ENDINGS:
        raise ConfigError(f"{path}: expected a name that ends in {' or '.join(ENDINGS)}")


def predictions_table(evaluation: Evaluation, caches: Sequence[Cache]) -> pa.Table:
    """Return one row per image and query.

    ``value`` and ``score`` are in the labels' unit, ``comparison`` has none; null where the run
    does not rank like that.

    Args:
        evaluation: What was found.
        caches: The caches that were evaluated, in their order.
    """
    images = [ok_samples(cache.samples) for cache in caches]
    parts = [_rows(q, images[q.cache]) for q in evaluation.queries]
    return pa.concat_tables(parts)


def write_predictions(path: Path, evaluation: Evaluation, caches: Sequence[Cache]) -> None:
    """Write the table atomically; its format is that of the name's ending.

    Raises:
        ConfigError: The name ends neither in .parquet nor in .csv.
        DiskSpaceError, WriteError: It cannot be written.
    """
    require_table_name(path)
    table = predictions_table(evaluation, caches)
    stream = io.BytesIO()
    if path.suffix == ".csv":
        pa_csv.write_csv(table, stream)
    else:
        pq.write_table(table, stream, compression="zstd")
    write_bytes(path, stream.getvalue())


def _rows(found: QueryEvaluation, images: pa.Table) -> pa.Table:
    """Return the rows of one query."""
    count = len(found.rows)
    these = images.take(found.rows)
    columns: dict[str, Any] = {
        "path": these["path"],
        "query": [found.query] * count,
        "value": found.values,
        "score": found.predictions.get("score", [None] * count),
        "comparison": found.predictions.get("comparison", [None] * count),
        "task": [found.task] * count,
        "dataset": [found.dataset] * count,
        "sample_id": these["sample_id"],
    }
    return pa.table(
        {
            name: pa.array(values, pa.float64()) if name in NUMBERS else values
            for name, values in columns.items()
        }
    )

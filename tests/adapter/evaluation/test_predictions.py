"""The table of predictions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from adapter.errors import ConfigError
from adapter.evaluation.evaluate import evaluate
from adapter.evaluation.predictions import write_predictions

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def found(trained):
    """An evaluation, and its cache with a table of images, one of which failed."""
    out, cache = trained
    count = len(cache)
    names = [f"image-{i}" for i in range(count)]
    samples = pa.table(
        {
            "sample_id": ["broken", *names],
            "path": ["broken.jpg", *(f"{n}.jpg" for n in names)],
            "status": ["failed"] + ["ok"] * count,
        }
    )
    return evaluate(out, [cache]), SimpleNamespace(samples=samples)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_one_row_per_image_and_query(found, tmp_path: Path, ending: str) -> None:
    evaluation, cache = found
    path = tmp_path / f"predictions.{ending}"
    write_predictions(path, evaluation, [cache])
    table = pa_csv.read_csv(path) if ending == "csv" else pq.read_table(path)
    assert table.column_names[:5] == ["path", "query", "value", "score", "comparison"]
    rows = [row for row in table.to_pylist() if row["query"] == "beauty"]
    beauty = next(q for q in evaluation.queries if q.query == "beauty")
    assert [row["path"] for row in rows] == [f"image-{n}.jpg" for n in beauty.rows]
    assert [row["value"] for row in rows] == pytest.approx(beauty.values)
    assert [row["score"] for row in rows] == pytest.approx(beauty.predictions["score"])
    assert [row["comparison"] for row in rows] == pytest.approx(beauty.predictions["comparison"])
    assert table.num_rows == sum(len(q.rows) for q in evaluation.queries)


def test_a_name_of_no_format_is_refused(found, tmp_path: Path) -> None:
    evaluation, cache = found
    with pytest.raises(ConfigError, match=r"\.parquet or \.csv"):
        write_predictions(tmp_path / "predictions.txt", evaluation, [cache])

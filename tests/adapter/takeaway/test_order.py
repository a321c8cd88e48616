"""Stars by percentiles, and tables."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from adapter.errors import ConfigError
from adapter.takeaway.stars import StarRule
from adapter.takeaway.table import OrderTable


def test_stars_follow_percentiles():
    rule = StarRule.parse("3:60, 5:95,4:85")
    found = rule.ratings(np.array([1.0, 0.95, 0.949, 0.85, 0.6, 0.59, 0.0]))
    assert found == [5, 5, 4, 4, 3, None, None]
    assert StarRule.parse("1:50,-1:0").ratings(np.array([0.5, 0.4])) == [1, -1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no stars"),
        ("five", "expected RATING:PERCENTILE"),
        ("6:95", "ratings go from"),
        ("5:101", "percentiles go from"),
        ("5:80,4:85", "more stars need"),
        ("5:80,5:85", "more stars need"),
    ],
)
def test_senseless_stars_are_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        StarRule.parse(text)


def test_tables_say_the_same_in_three_forms(tmp_path):
    table = OrderTable(
        paths=["a, b.jpg", "é.jpg"], scores=[0.75, 0.5], more={"stars": [5, None], "q": [1.0, 0.0]}
    )
    for suffix in ("csv", "json", "parquet"):
        table.write(tmp_path / f"t.{suffix}")
    rows = json.loads((tmp_path / "t.json").read_text("utf-8"))
    assert rows[0] == {"place": 1, "path": "a, b.jpg", "score": 0.75, "stars": 5, "q": 1.0}
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == rows
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as stream:
        read = list(csv.DictReader(stream))
    assert [r["path"] for r in read] == ["a, b.jpg", "é.jpg"]
    assert read[1]["stars"] == ""

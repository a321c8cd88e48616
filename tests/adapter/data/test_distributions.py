"""Rating distributions of the labels that were chosen, or none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from adapter.data.distributions import distributions_of

ROWS = {"a": 0, "b": 1, "c": 2}


def cache_of(*labels):
    """Return labels of (image, query, shares), in two chunks, as a cache gives them."""
    names = ("sample_id", "query", "distribution")

    def table(part):
        columns = dict(zip(names, map(list, zip(*part, strict=True)), strict=True))
        kinds = [pa.string(), pa.string(), pa.list_(pa.float32())]
        found = pa.table(columns, schema=pa.schema(list(zip(names, kinds, strict=True))))
        return found.append_column("task", pa.array(["quality"] * len(part)))

    class Labeled(SimpleNamespace):
        def __len__(self):
            return len(ROWS)

    return Labeled(
        labels=pa.concat_tables([table(labels[:1]), table(labels[1:])]),
        rows=lambda ids: np.array([ROWS.get(str(name), -1) for name in ids], np.int64),
    )


def shares_of(cache, rows, query="q"):
    return distributions_of(cache, "quality", query, np.array(rows, np.int64))


def test_shares_in_the_order_of_the_rows():
    cache = cache_of(
        ("gone", "q", [1.0, 0.0]),
        ("a", "q", [0.25, 0.75]),
        ("a", "other", [1.0, 0.0]),
        ("c", "q", [1.0, 3.0]),  # votes are shares of their sum
        ("b", "q", [0.5, 0.5]),
        ("a", "q", [0.25, 0.75]),  # as in another fold
    )
    found = shares_of(cache, [2, 0])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.25, 0.75]])
    assert shares_of(cache, []) is None


@pytest.mark.parametrize("shares", [None, [0.2, 0.3, 0.5], [0.0, 0.0]])
def test_none_where_one_label_has_no_distribution_of_the_same_levels(shares):
    cache = cache_of(("a", "q", [0.25, 0.75]), ("b", "q", shares))
    assert shares_of(cache, [0, 1]) is None
    assert shares_of(cache, [0]) is not None
    assert shares_of(cache_of(("a", "q", None), ("b", "q", None)), [0, 1]) is None

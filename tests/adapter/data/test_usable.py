"""Labels that nothing can be learned, or measured, from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from adapter.data.usable import equal_labels, undefined_validation
from adapter.errors import ConfigError

CACHE = SimpleNamespace(dataset="photos", path="cache")


def selection(**queries):
    found = [
        SimpleNamespace(query=name, values=np.array(values, float), rows=np.arange(len(values)))
        for name, values in queries.items()
    ]
    return SimpleNamespace(queries=found)


def test_equal_training_labels_are_said():
    (note,) = equal_labels([CACHE], [selection(age=[30, 30, 30], art=[1, 2], alone=[5])])
    assert "photos" in note
    assert "'age': all 3 are 30; 'alone': the only one is 5" in note
    assert "art" not in note
    assert equal_labels([CACHE], [selection(art=[1, 2])]) == []


@pytest.mark.parametrize("values", [[7.0], [2.0, 2.0, 2.0]])
def test_validation_that_tells_nothing_is_refused(values):
    held = [selection(age=values)]
    with pytest.raises(ConfigError, match=r"srcc is undefined .* train\.hold_out"):
        undefined_validation([CACHE], held, "srcc")
    assert undefined_validation([CACHE], held, "mae") == []


def test_a_query_that_cannot_be_validated_is_said():
    (note,) = undefined_validation([CACHE], [selection(age=[1.0], art=[1, 2])], "srcc")
    assert "1 query of 2" in note
    assert "'age': 1 image" in note

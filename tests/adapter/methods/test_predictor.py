from __future__ import annotations

import json

import numpy as np
import pytest

from adapter.errors import CheckpointError, CheckpointNotFoundError
from adapter.methods.clip_iqa import AntonymScale
from adapter.methods.predictor import (
    ARRAYS_FILE,
    METHOD_FILE,
    load_predictor,
    read_method,
    save_predictor,
)


@pytest.fixture
def saved(tmp_path):
    scale = AntonymScale(prompts=np.eye(2, 3), logit_scale=10.0, low=1.0, high=5.0)
    save_predictor(tmp_path, scale, {"method": "clip-iqa", "query": "by quality"})
    return tmp_path


def test_what_is_written_is_read(saved):
    found = load_predictor(saved)
    assert isinstance(found, AntonymScale)
    assert (found.logit_scale, found.low, found.high) == (10.0, 1.0, 5.0)
    np.testing.assert_array_equal(found.prompts, np.eye(2, 3))
    assert read_method(saved)["query"] == "by quality"


def test_no_method_here(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="adapter fit"):
        load_predictor(tmp_path)


def test_arrays_that_are_gone(saved):
    (saved / ARRAYS_FILE).unlink()
    with pytest.raises(CheckpointNotFoundError, match="fit the method again"):
        load_predictor(saved)


@pytest.mark.parametrize("content", ["", "[]", '{"format": 99}', "\x00"])
def test_a_damaged_record(saved, content):
    (saved / METHOD_FILE).write_text(content)
    with pytest.raises(CheckpointError):
        load_predictor(saved)


def test_a_record_never_chooses_what_is_imported(saved):
    record = json.loads((saved / METHOD_FILE).read_text())
    (saved / METHOD_FILE).write_text(json.dumps({**record, "predictor": "os.system"}))
    with pytest.raises(CheckpointError, match="unknown predictor"):
        load_predictor(saved)


@pytest.mark.parametrize("cut", [0, 5, 40])
def test_damaged_arrays(saved, cut):
    content = (saved / ARRAYS_FILE).read_bytes()
    (saved / ARRAYS_FILE).write_bytes(content[:cut])
    with pytest.raises(CheckpointError, match="damaged"):
        load_predictor(saved)


def test_arrays_of_another_method(saved):
    record = json.loads((saved / METHOD_FILE).read_text())
    (saved / METHOD_FILE).write_text(json.dumps({**record, "arrays": ["weights"]}))
    with pytest.raises(CheckpointError):
        load_predictor(saved)

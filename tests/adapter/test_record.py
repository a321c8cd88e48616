"""run.json: written whole, read or refused with the reason."""

import json

import pytest

from adapter.errors import CheckpointError, CheckpointNotFoundError
from adapter.record import RUN_FILE, read_record, versions, write_record


def test_survives_the_disk(tmp_path):
    write_record(tmp_path, {"steps": 3, "text": "åäö"})
    assert read_record(tmp_path) == {"format": 1, "steps": 3, "text": "åäö"}
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


def test_no_run(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match=f"adapter train --out {tmp_path}"):
        read_record(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"format": 1'])
def test_damage(tmp_path, content):
    (tmp_path / RUN_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"run.json: cannot be read"):
        read_record(tmp_path)


@pytest.mark.parametrize("content", [[], {}, {"format": 2}, None, "format"])
def test_other_documents(tmp_path, content):
    (tmp_path / RUN_FILE).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="not a run of format 1"):
        read_record(tmp_path)


def test_versions_are_those_that_are_installed():
    import torch

    found = versions()
    assert found["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert set(found) == {"featcache", "torch", "numpy", "safetensors"}

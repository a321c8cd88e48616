"""run.json: written whole, read or refused with the reason."""

import json

import pytest

from adapter.errors import CheckpointError, CheckpointNotFoundError
from adapter.record import RUN_FILE, member_folders, read_record, write_record
from adapter.settings import OptimConfig, TrainConfig


def test_survives_the_disk(tmp_path):
    write_record(tmp_path, {"steps": 3, "text": "åäö"})
    assert read_record(tmp_path) == {"format": 1, "steps": 3, "text": "åäö"}
    assert [path.name for path in tmp_path.iterdir()] == [RUN_FILE]


def test_no_run(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match=f"adapter train --out {tmp_path}"):
        read_record(tmp_path)


def test_a_folder_of_several_runs_names_one(tmp_path):
    for fold, seed in ((10, 0), (2, 1), (2, 0)):
        folder = tmp_path / f"fold-{fold}" / f"seed-{seed}"
        folder.mkdir(parents=True)
        write_record(folder, {})
    assert [str(run.relative_to(tmp_path)) for run in member_folders(tmp_path)] == [
        "fold-2/seed-0",
        "fold-2/seed-1",
        "fold-10/seed-0",
    ]
    with pytest.raises(CheckpointNotFoundError, match=r"holds 3 runs; .*fold-2/seed-0"):
        read_record(tmp_path)
    assert member_folders(folder) == []


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


def test_settings_of_an_older_file_are_read_in_todays_form(tmp_path):
    train = {"target_scale": "standardise", "steps": 3, "optim": {"lr": 0.1}}
    write_record(tmp_path, {"settings": {"model": {}, "train": train}})
    read = read_record(tmp_path)["settings"]
    assert TrainConfig.from_dict(read["train"]) == TrainConfig(steps=3, optim=OptimConfig(lr=0.1))
    assert json.loads((tmp_path / RUN_FILE).read_text())["settings"]["train"] == train

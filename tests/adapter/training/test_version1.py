"""A run that was begun by the first version goes on, whatever has been respelled since."""

import shutil
from pathlib import Path

from adapter import AdapterConfig, LossConfig, TrainConfig, train
from adapter.record import read_record

VERSION1 = Path(__file__).parents[2] / "data" / "version1"


def test_an_unfinished_run_goes_on(tmp_path, monkeypatch):
    shutil.copytree(VERSION1, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")  # run.json names the cache by a relative path
    settings = read_record(Path("unfinished"))["settings"]
    assert settings["train"]["target_scale"] == "standardize"
    summary = train(
        ["cache"],
        "unfinished",
        AdapterConfig.from_dict(settings["model"]),
        LossConfig.from_dict(settings["loss"]),
        TrainConfig.from_dict(settings["train"]),
        resume=True,
    )
    assert summary.steps == settings["train"]["steps"]
    assert not summary.interrupted

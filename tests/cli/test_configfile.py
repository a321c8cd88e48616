"""Settings as a TOML file: written, read, given back, and under the command line's options."""

import tomllib
from pathlib import Path

import pytest

from adapter.errors import ConfigError
from cli import configfile

RUN = Path(__file__).parents[1] / "data" / "version1" / "run"


def printed(adapter, *options):
    """What `--print-config` prints."""
    code, text, _ = adapter("train", "--print-config", *options)
    assert code == 0
    return text


@pytest.mark.parametrize("preset", ["released", "paper", "best"])
def test_what_is_printed_can_be_given(adapter, tmp_path, preset):
    text = printed(
        adapter, "--preset", preset, "--steps", "77", "--set", "optim.clip_norm=null",
        "--set", 'sampling.views=["original"]', "--query", "a", "--query", "b",
    )  # fmt: skip
    found = tomllib.loads(text)
    assert found["preset"] == preset
    assert found["train"]["steps"] == 77
    assert found["train"]["queries"] == ["a", "b"]
    assert found["optim"]["clip_norm"] == "null"
    assert "# " in text.split("[train]")[1]  # each field says what it means
    (tmp_path / "mine.toml").write_text(text, "utf-8")
    assert printed(adapter, "--config", tmp_path / "mine.toml") == text


def test_options_win_over_the_file_and_defaults_do_not(adapter, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'preset = "paper"\n[train]\nsteps = 5\nseed = 3\n[model]\nwidth = 32\n[optim]\nlr = 0.5\n'
    )
    found = tomllib.loads(
        printed(adapter, "--config", file, "--steps", "9", "--set", "train.seed=4")
    )
    assert (found["preset"], found["model"]["width"]) == ("paper", 32)
    assert (found["train"]["steps"], found["train"]["seed"]) == (9, 4)
    assert found["optim"]["lr"] == 0.5
    found = tomllib.loads(
        printed(adapter, "--config", file, "--preset", "released", "--width", "64")
    )
    assert (found["preset"], found["model"]["width"]) == ("released", 64)
    assert found["loss"]["ranking"] == "bce"


def test_a_run_gives_its_own_settings_back(adapter):
    found = tomllib.loads(printed(adapter, "--config", RUN))
    assert found["model"]["width"] == 16
    assert "image_dim" not in found["model"]  # of the cache
    assert found["train"]["target_scale"] == "standardize"  # spelled in another way there


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = ", "not a TOML file"),
        ("[train]\nsteps = 'x'\n", "steps"),
        ("[train]\nstops = 3\n", "train.stops: no such setting"),
        ("[trein]\nsteps = 3\n", "trein is not a section"),
        ("preset = 3\n", "expected preset"),
        ("preset = 'mine'\n", "--preset must be one of"),
    ],
)
def test_files_that_cannot_be(adapter, tmp_path, text, message):
    (tmp_path / "mine.toml").write_text(text)
    code, _, error = adapter("train", "--shards", "x", "--config", tmp_path / "mine.toml")
    assert code == 1
    assert message in error


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="or the folder of a run"):
        configfile.read(tmp_path / "none.toml")


def test_caches_are_needed_to_train(adapter):
    code, _, error = adapter("train")
    assert code == 2
    assert "--shards" in error

"""Which preset `adapter train` takes where nobody names one."""

import json
from pathlib import Path

import pytest

from adapter.errors import ConfigError
from cli.preset import choose_preset
from cli.settings import SECTIONS, parse

CACHE = Path(__file__).parents[1] / "data" / "version1" / "cache"
BEST = "preset best: adapter and regression"


def chosen(*assignments, asked=None, compared=False):
    given = {section: {} for section in SECTIONS} | parse(assignments)
    return choose_preset(asked, given, compared=compared)


def test_the_best_one_unless_another_is_asked_for():
    assert chosen().preset == "best"
    assert chosen().note.startswith(BEST)
    assert chosen("loss.ranking=hinge").preset == "best"
    assert chosen(asked="paper") == ("paper", "")
    assert chosen(asked="best", compared=True) == ("best", "")  # refused later, with the reason
    with pytest.raises(ConfigError, match="released, paper, best, not 'other'"):
        chosen(asked="other")


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("sampling.relevance=true", "distances to a count"),
        ("model.score_head=false", "model.score_head is off"),
        ("loss.regression=none", "loss.regression is off"),
    ],
)
def test_released_where_there_is_nothing_to_add(setting, reason):
    assert chosen(setting).preset == "released"
    assert reason in chosen(setting).note


def test_comparisons_and_no_parts_mean_released_too():
    assert chosen(compared=True).preset == "released"
    assert "comparisons are not labels" in chosen(compared=True).note
    assert chosen("train.stack_parts=0") == ("released", "")
    assert chosen("loss.regression=none", "loss.presence=true").preset == "best"


def test_what_the_default_trains(adapter, tmp_path):
    """Each choice trains to its end, as it was announced."""
    small = ["--steps", "2", "--width", "16", "--set", "model.prompt_tokens=2"]
    for name, more, parts in (("a", [], 3), ("b", ["--set", "loss.regression=none"], 0)):
        out = tmp_path / name
        code, _, err = adapter("train", "--shards", CACHE, "--out", out, *small, *more)
        assert code == 0, err
        record = json.loads((out / "run.json").read_text("utf-8"))
        assert record["settings"]["train"]["stack_parts"] == parts
        assert (BEST in err) == (parts > 0)
        assert ("preset released: loss.regression is off" in err) == (parts == 0)

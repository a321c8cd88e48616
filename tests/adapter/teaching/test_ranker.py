from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cli.adapter
from adapter.data.comparisons import read_comparisons
from adapter.errors import ConfigError
from adapter.teaching.ranker import taste_rankers
from featcache import Cache

CACHE = Path(__file__).parents[2] / "data" / "version1" / "cache"


@pytest.fixture
def answers(tmp_path):
    """The photo whose name comes first in the alphabet is always liked better."""
    names = sorted(Cache.open(CACHE).sample_ids.to_pylist())
    lines = [f"{a},{b},left,Which is better?" for n, a in enumerate(names) for b in names[n + 1 :]]
    path = tmp_path / "answers.csv"
    path.write_text(
        "\n".join(["left,right,answer,question", *lines, f"{names[0]},{names[1]},equal,q"])
    )
    return path


def test_a_cache_is_ranked_by_answers(answers):
    cache = Cache.open(CACHE)
    [ranker] = taste_rankers(read_comparisons(answers), ["Which is better?"])
    ranking = ranker.rank(cache, device="cpu")
    places = [sorted(ranking.paths).index(path) for path in ranking.paths]
    assert np.corrcoef(places, np.arange(len(places)))[0, 1] > 0.9


def test_questions_are_known_by_name(answers):
    table = read_comparisons(answers)
    with pytest.raises(ConfigError, match="answers 2 questions; choose with --query"):
        taste_rankers(table, [])
    with pytest.raises(ConfigError, match="does not answer 'x'"):
        taste_rankers(table, ["x"])


def test_the_command(answers, monkeypatch, capsys):
    def rank(*words):
        monkeypatch.setattr("sys.argv", ["adapter", "rank", *map(str, words)])
        with pytest.raises(SystemExit) as leaving:
            cli.adapter.main()
        return leaving.value.code or 0, capsys.readouterr()

    words = ("--shards", CACHE, "--comparisons", answers, "--query", "Which is better?")
    code, found = rank(*words, "--top", 3)
    assert code == 0, found.err
    assert found.out.count("\n") == 4
    code, found = rank("--images", CACHE.parent / "photos", "--comparisons", answers)
    assert code == 1
    assert "ranks a cache: give --shards" in found.err

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adapter.errors import ConfigError
from adapter.methods.ranker import AntonymRanker, chosen_pairs, read_pairs
from featcache import Cache

SMALL = Path(__file__).parents[2] / "data" / "version1" / "cache"


def test_opposite_prompts_need_no_run():
    cache = Cache.open(SMALL)
    pair = ("Bright photo.", "Dark photo.")
    ranking = AntonymRanker(pairs=(pair,)).rank(cache, device="cpu")
    assert ranking.query == "Bright photo. / Dark photo."
    assert len(ranking.paths) == 14
    assert 0 < ranking.scores[-1] <= ranking.scores[0] < 1
    turned = AntonymRanker(pairs=(pair[::-1],)).rank(cache, device="cpu")
    np.testing.assert_allclose(turned.scores, 1 - ranking.scores[::-1], rtol=1e-6)


def test_prompts_that_the_text_tower_reads_alike():
    cache = Cache.open(SMALL)
    alike = (("A photo.", "a  photo."),)  # the tokenizer lower-cases, and joins blanks
    with pytest.raises(ConfigError, match="reads both prompts alike"):
        AntonymRanker(pairs=alike).rank(cache, device="cpu")
    both = (*alike, ("Bright photo.", "Dark photo."))
    assert len(set(AntonymRanker(pairs=both).rank(cache, device="cpu").scores)) > 1


def test_pairs_are_averaged():
    cache = Cache.open(SMALL)
    pairs = chosen_pairs(["quality"], ("a cat", "a dog"), None)
    alone = [AntonymRanker(pairs=(pair,)).rank(cache, device="cpu") for pair in pairs]
    scores = [dict(zip(r.paths, r.scores, strict=True)) for r in alone]
    both = AntonymRanker(pairs=pairs).rank(cache, device="cpu")
    for path, score in zip(both.paths, both.scores, strict=True):
        assert score == pytest.approx(np.mean([s[path] for s in scores]))


def test_a_file_of_pairs(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text('\ufeffHigh, low\nA big dog., A small dog.\n\n"Hot, sunny",Cold\n', "utf-8")
    assert read_pairs(path) == (("A big dog.", "A small dog."), ("Hot, sunny", "Cold"))


@pytest.mark.parametrize("content", [b"", b"high,low\n", b"one\n", b"a,a\n", b"\xff\xfe"])
def test_files_without_pairs(tmp_path, content):
    path = tmp_path / "pairs.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        read_pairs(path)


def test_nothing_to_rank_by():
    with pytest.raises(ConfigError, match="--attribute NAME"):
        AntonymRanker(pairs=())

import re

import numpy as np
import pytest

from featcache.backbone.embedded.captions import (
    MAX_FACTS,
    alter,
    count_fact,
    decade_fact,
    describe,
    noun,
    presence_fact,
    render,
)
from featcache.backbone.embedded.facts import hold
from featcache.backbone.embedded.pool import draw


@pytest.fixture(scope="module")
def truth():
    return draw(1_000_001, 0, 60, 32).truth


def test_captions_hold_for_their_own_scene_and_altered_ones_do_not(truth):
    rng = np.random.default_rng(0)
    for _ in range(5):
        facts = [describe(rng, row) for row in truth]
        altered = [alter(rng, *pair) for pair in zip(facts, truth, strict=True)]
        assert np.all(np.diag(hold(facts, truth)) == 1)
        assert np.all(np.diag(hold(altered, truth)) == 0)
        for one, other in zip(facts, altered, strict=True):
            assert sum(a != b for a, b in zip(one, other, strict=True)) == 1


def test_captions_vary_and_fit_the_text_tower(truth):
    from open_clip.tokenizer import SimpleTokenizer

    rng = np.random.default_rng(1)
    facts = [describe(rng, row, facts=MAX_FACTS) for row in truth for _ in range(8)]
    texts = [render(rng, some) for some in facts]
    assert len(set(texts)) > 0.95 * len(texts)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9 ,-]*\.", text) for text in texts)
    tokenizer = SimpleTokenizer(context_length=77)
    assert max(len(tokenizer.encode(text)) for text in texts) + 2 <= 40


def test_numbers_come_in_words_and_digits():
    rng = np.random.default_rng(2)
    texts = {count_fact(rng, ("red", "cube"), 3).text for _ in range(60)}
    assert {"three red cubes", "3 red cubes", "3 red boxes", "exactly three red cubes"} <= texts
    assert count_fact(rng, ("large", "green"), 0).text.startswith("no ")
    assert {count_fact(rng, ("cylinder",), 1).text for _ in range(40)} >= {
        "one cylinder",
        "1 cylinder",
    }


def test_nouns_of_the_queries_are_among_them():
    rng = np.random.default_rng(3)
    texts = {
        noun(rng, (value,), plural=True) for value in ("red", "metal", "cube") for _ in range(80)
    }
    assert {"objects in red", "objects made of metal", "objects in the shape of a cube"} <= texts
    assert {"red objects", "red things", "shiny solids", "cubes", "boxes"} <= texts


def test_articles():
    rng = np.random.default_rng(4)
    assert presence_fact(rng, ("small", "red")).text.startswith("a ")
    for _ in range(20):
        text = render(rng, [presence_fact(rng, ("red", "cube")), decade_fact(rng, 1950)])
        assert re.match(r"(a photo|a picture|an image) (of|with) a red (cube|box), ", text)

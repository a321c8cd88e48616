"""Names that people give."""

from __future__ import annotations

import pytest

from adapter.errors import ConfigError
from adapter.names import choose_names, clean_names

KNOWN = ("train", "val", "test")


def test_spaces_empty_names_and_repeats_do_not_count():
    assert clean_names(" train , val,, train", commas=True) == ("train", "val")
    assert clean_names([" a, b "]) == ("a, b",)
    assert choose_names("split", "test ,train", KNOWN, commas=True) == ("test", "train")


def test_an_unknown_name_is_refused_with_the_closest_first():
    with pytest.raises(ConfigError, match=r"no split 'tset'; there are test, train, val"):
        choose_names("split", ["train", "tset"], KNOWN)
    with pytest.raises(ConfigError, match="there is none"):
        choose_names("task", ["age"], ())


def test_patterns_need_a_match():
    assert choose_names("task", ["t*"], KNOWN, patterns=True) == ("t*",)
    with pytest.raises(ConfigError, match="no task"):
        choose_names("task", ["x*"], KNOWN, patterns=True)
    with pytest.raises(ConfigError, match="no task"):
        choose_names("task", ["t*"], KNOWN)


def test_long_lists_are_cut():
    with pytest.raises(ConfigError, match="and 30 more"):
        choose_names("query", ["none"], [f"query {n}" for n in range(50)])

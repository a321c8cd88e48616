"""Labels of data sets with a name: their words, opposite prompts and scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adapter.methods import known
from adapter.methods.fold import fold_of
from adapter.methods.known import Known, known_labels, words_of
from featcache import Cache
from featcache.datasets.queries import AGE, AGE_GROUP, DATE, quality

SMALL = Path(__file__).parents[2] / "data" / "version1" / "cache"
COUNT = "sort images by the number of objects."


def test_decades_and_age_groups_have_their_words():
    words, scale = words_of("hci", DATE, np.array([0.0, 4.0, 2.0]))
    assert words.names == ("1930s", "1940s", "1950s", "1960s", "1970s")
    assert words.prompts[0] == "a photo taken in the 1930s."
    assert words.antonyms[0] == "a photo taken in the 1970s."
    assert scale == (0, 4)
    words, _ = words_of("adience", AGE_GROUP, np.array([0.0, 7.0]))
    assert words.prompts[-1] == "a photo of a person 60 to 100 years old."


def test_ages_outside_of_the_papers_are_named_by_the_labels():
    inside, scale = words_of("utkface", AGE, np.array([21.0, 60.0]))
    assert (len(inside.values), inside.binned, scale) == (40, False, (21, 60))
    outside, scale = words_of("utkface", AGE, np.array([1.0, 60.0]))
    assert (outside.names, scale) == (("1", "60"), None)
    assert outside.antonyms == known.UTKFACE.antonyms


def test_opinion_scores_have_the_scale_of_their_data_set():
    assert words_of("koniq10k", quality(), np.array([31.5, 80.25]))[1] == (0, 100)
    assert words_of("para", quality("aesthetics"), np.array([1.5, 3.25]))[1] == (1, 5)
    assert words_of("ava", quality(), np.array([0.5, 3.25]))[1] is None  # outside of 1 ... 10
    assert words_of("ava", quality("contrast"), np.array([0.5, 3.25]))[1] is None


def test_other_queries_and_data_sets_are_not_known():
    assert known_labels("hci", AGE) is None
    assert known_labels("table", DATE) is None


def test_a_fold_takes_what_is_known_and_an_option_counts_more(monkeypatch):
    pair = ("a full photo.", "an empty photo.")
    monkeypatch.setattr(known, "known_labels", lambda *of: Known(antonyms=pair, scale=(0, 50)))
    cache = Cache.open(SMALL)
    data = fold_of(cache, COUNT)
    assert (data.value_range, data.antonyms) == ((0, 50), pair)
    data = fold_of(cache, COUNT, scale=(-1, 20), antonyms=("a lot.", "a bit."))
    assert (data.value_range, data.antonyms) == ((-1, 20), ("a lot.", "a bit."))

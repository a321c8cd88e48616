from __future__ import annotations

import numpy as np
import pytest

from adapter.errors import LabelsError
from adapter.methods.words import antonyms_of, counted_of, derive_words, steps_of, subject_of


@pytest.mark.parametrize(
    ("query", "subject"),
    [
        ("sort images by the number of cats.", "number of cats"),
        ("Rank the photos by beauty", "beauty"),
        ("sort images by the person's age.", "person's age"),
        ("sort images by", "sort images by"),
        ("quality", "quality"),
    ],
)
def test_the_subject_of_a_query(query, subject):
    assert subject_of(query) == subject


def test_whole_labels_are_classes():
    words = derive_words("sort images by the number of cats.", np.array([2.0, 0, 0, 1]))
    assert words.values.tolist() == [0, 1, 2]
    assert words.prompts[2] == "a photo of 2 cats."
    assert words.antonyms == ("a photo of many cats.", "a photo without cats.")
    assert not words.binned


def test_other_labels_fall_into_bins():
    words = derive_words("sort images by the image quality of sharpness.", np.linspace(0, 5, 40))
    assert words.binned
    assert words.values[0] == 0.25
    assert words.names[:2] == ("0 to 0.5", "0.5 to 1")
    assert words.antonyms == ("Sharp photo.", "Blurry photo.")


def test_many_whole_labels_fall_into_bins_too():
    assert derive_words("sort images by age.", np.arange(40.0)).binned


@pytest.mark.parametrize(
    ("query", "pair"),
    [
        ("sort images by the image quality of mean opinion score.", ("Good photo.", "Bad photo.")),
        ("sort images by tastiness.", ("a photo with a high tastiness.",) * 1),
    ],
)
def test_opposite_prompts(query, pair):
    assert antonyms_of(query)[: len(pair)] == pair


def test_equal_labels_are_refused():
    with pytest.raises(LabelsError, match="all training labels are 3"):
        derive_words("sort images by age.", np.array([3.0, 3.0]))


def test_words_that_class_prompts_share():
    from adapter.methods.numclip import common_words

    prompts = ("a photo taken in the 1930s.", "a photo taken in the 1940s.")
    assert common_words(prompts) == "a photo taken in the"
    assert common_words(("old.", "young.")) == ""


@pytest.mark.parametrize(
    ("query", "steps"),
    [
        ("sort images by the number of cats.", ("no cats", "very many cats")),
        ("sort images by the image quality of mean opinion score.", ("bad", "excellent")),
        ("sort images by the image quality of contrast.", ("very low", "very high")),
    ],
)
def test_steps_of_a_scale(query, steps):
    found = steps_of(query)
    assert (found[0], found[-1], len(found)) == (*steps, 5)


@pytest.mark.parametrize(
    ("query", "counted"),
    [
        ("sort images by the number of cats.", "cats"),
        ("Sort images by the count of objects in red.", "objects in red"),
        ("sort images by the image quality of contrast.", None),
    ],
)
def test_what_a_query_counts(query, counted):
    assert counted_of(query) == counted

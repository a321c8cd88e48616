from __future__ import annotations

from dataclasses import replace

import numpy as np

from adapter.methods.captions import captions_for, kind_of


def of(fold, query, values, **changes):
    values = np.asarray(values, np.float64)
    return captions_for(
        replace(fold, query=query, train=replace(fold.train, values=values), **changes)
    )


def test_counts_are_enumerated_to_a_hundred(make_fold):
    captions = of(make_fold(4), "sort images by the number of cats.", [0, 3])
    assert len(captions.texts) == 101
    assert captions.texts[3] == "A photo of 3 cats."
    assert captions.classes_of(np.array([0.0, 3.0, 250.0])).tolist() == [0, 3, 100]


def test_values_fall_into_bins_of_the_training_range(make_fold):
    captions = of(
        make_fold(4), "sort images by the image quality of contrast.", [1, 2, 6], binned=True
    )
    assert captions.texts[1] == ("The contrast of the image is higher than 0.1 and lower than 0.2.")
    np.testing.assert_allclose(captions.values[[0, -1]], [1.25, 5.75])


def test_classes_take_their_own_prompts(make_fold):
    fold = make_fold(4)
    captions = captions_for(fold)
    assert captions.texts == fold.class_prompts
    np.testing.assert_array_equal(captions.values, fold.class_values)


def test_kinds():
    assert kind_of("sort images by the number of cats.", np.array([0.0, 2])) == "count"
    assert kind_of("sort images by age.", np.array([0.0, 2])) == "class"
    assert kind_of("sort images by age.", np.array([0.5, 2])) == "value"

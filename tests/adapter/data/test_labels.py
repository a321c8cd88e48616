from __future__ import annotations

import numpy as np
import pytest

from adapter.data.labels import hold_out, select_labels
from adapter.errors import LabelsError


def labels_of(cache, **options):
    return {q.query: dict(zip(q.rows.tolist(), q.values.tolist(), strict=True))
            for q in select_labels(cache, **options).queries}  # fmt: skip


def test_selection_equals_a_walk_over_the_table(cache):
    chosen = labels_of(cache, split="train")
    expected: dict[str, dict[int, float]] = {}
    for name, _, query, value, split, _ in cache.label_rows:
        if split == "train":
            expected.setdefault(query, {})[int(name.split("-")[1])] = value
    assert chosen == expected


def test_query_and_task_patterns(cache):
    assert set(labels_of(cache, split="train", queries=["*cats*"])) == {"number of cats."}
    assert set(labels_of(cache, split="train", tasks=["sco*"])) == {"beauty"}
    assert set(labels_of(cache, split=["val", "test"], tasks=["count"])) == {
        "number of cats.",
        "number of dogs.",
    }


def test_a_prompt_with_pattern_characters_matches_itself(cache):
    cache.label_rows.append(("image-0", "odd", "how many [cats]?", 1.0, "train", None))
    assert set(labels_of(cache, split="train", queries=["how many [cats]?"])) == {
        "how many [cats]?"
    }


def test_labels_of_failed_images_are_counted_and_left_out(cache):
    cache.label_rows.append(("image-lost", "score", "beauty", 1.0, "train", None))
    selection = select_labels(cache, split="train")
    assert selection.left_out == 1
    assert all((q.rows >= 0).all() for q in selection.queries)


def test_only_failed_images_is_an_error(cache):
    cache.label_rows[:] = [("image-lost", "score", "beauty", 1.0, "train", None)]
    with pytest.raises(LabelsError, match="image with features"):
        select_labels(cache, split="train")


def test_nothing_matches_lists_what_there_is(cache):
    with pytest.raises(LabelsError) as caught:
        select_labels(cache, split="all", queries=["*horses*"])
    message = str(caught.value)
    assert "*horses*" in message
    assert "task count, split train, every fold" in message
    assert "'number of cats.'" in message


def test_no_labels_at_all(cache):
    cache.label_rows.clear()
    with pytest.raises(LabelsError, match="featcache labels"):
        select_labels(cache, split="train")


def test_folds(cache):
    base = [(f"image-{i}", "age", "age", float(i)) for i in range(6)]
    cache.label_rows[:] = [
        (*row, "test" if i % 3 == fold else "train", fold)
        for fold in range(3)
        for i, row in enumerate(base)
    ]
    assert set(labels_of(cache, split="train", fold=1)["age"]) == {0, 2, 3, 5}
    with pytest.raises(LabelsError, match="folds 0, 1, 2"):
        select_labels(cache, split="train")
    # A label without a fold belongs to each fold.
    cache.label_rows.append(("image-9", "age", "age", 9.0, "train", None))
    assert 9 in labels_of(cache, split="train", fold=2)["age"]


def test_single_fold_need_not_be_named(cache):
    cache.label_rows[:] = [("image-0", "age", "age", 1.0, "train", 4)]
    assert labels_of(cache, split="train") == {"age": {0: 1.0}}


def test_repeated_labels_collapse_and_contradictions_are_refused(cache):
    cache.label_rows[:] = [("image-0", "age", "age", 1.0, "train", None)] * 2
    assert labels_of(cache, split="train") == {"age": {0: 1.0}}
    cache.label_rows.append(("image-0", "age", "age", 2.0, "train", None))
    with pytest.raises(LabelsError, match="two values, 1 and 2"):
        select_labels(cache, split="train")


def test_value_that_is_not_finite(cache):
    cache.label_rows.append(("image-0", "age", "age", float("nan"), "train", None))
    with pytest.raises(LabelsError, match="the value nan is not a number"):
        select_labels(cache, split="train")


def test_value_that_is_absurd(cache):
    cache.label_rows.append(("image-0", "age", "age", 1e300, "train", None))
    with pytest.raises(LabelsError, match=r"row 0: the value 1e\+300 is not a number up to 1e\+30"):
        select_labels(cache, split="train")


def test_containing_covers_every_split(cache):
    selection = select_labels(cache, split="train", queries=["*cats*"])
    everywhere = {int(n.split("-")[1]) for n, _, q, v, *_ in cache.label_rows if "cats" in q}
    assert set(selection.queries[0].containing.tolist()) == everywhere
    assert selection.states_zeros == frozenset()
    cache.label_rows.append(("image-0", "count", "number of cows.", 0.0, "test", None))
    assert select_labels(cache, split="train").states_zeros == {"count"}


def test_hold_out_moves_whole_images(cache):
    selection = select_labels(cache, split="train")
    kept, held = hold_out(selection, 0.2, seed=3)
    assert not np.intersect1d(kept.image_rows, held.image_rows).size
    both = np.union1d(kept.image_rows, held.image_rows)
    np.testing.assert_array_equal(both, selection.image_rows)
    again = hold_out(selection, 0.2, seed=3)[1]
    np.testing.assert_array_equal(again.image_rows, held.image_rows)

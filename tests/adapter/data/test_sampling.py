from __future__ import annotations

import numpy as np
import pytest

from adapter.data.labels import select_labels
from adapter.data.sampling import Sampler, relevance_prompt, require_prompts
from adapter.errors import ConfigError, LabelsError
from adapter.settings import SamplingConfig


def make_sampler(cache, seed=0, split="train", **options):
    select = {name: options.pop(name) for name in ("queries", "tasks") if name in options}
    selection = select_labels(cache, split=split, **select)
    return Sampler([selection], [cache.views], SamplingConfig(**options), seed)


def truth(cache):
    return {(n, q): v for n, _, q, v, *_ in cache.label_rows}


def test_a_batch_is_a_function_of_seed_and_step(cache):
    forwards = [make_sampler(cache, seed=5).batch(k) for k in range(20)]
    sampler = make_sampler(cache, seed=5)
    for k in reversed(range(20)):
        batch = sampler.batch(k)
        assert batch.query == forwards[k].query
        for name in ("rows", "views", "values"):
            np.testing.assert_array_equal(getattr(batch, name), getattr(forwards[k], name))
    other = [make_sampler(cache, seed=6).batch(k) for k in range(20)]
    assert any(
        a.query != b.query or not np.array_equal(a.rows, b.rows)
        for a, b in zip(forwards, other, strict=True)
    )


def test_batches_hold_true_labels_and_no_image_twice(cache):
    labels = truth(cache)
    sampler = make_sampler(cache, batch_size=12)
    for k in range(60):
        batch = sampler.batch(k)
        assert len(np.unique(batch.rows)) == len(batch) <= 12
        for row, value in zip(batch.rows, batch.values, strict=True):
            # Absent counts are true zeros in this cache, absent scores do not exist.
            assert labels.get((f"image-{row}", batch.query), 0.0) == value
            if batch.task == "score":
                assert (f"image-{row}", batch.query) in labels


def test_negative_ratio_holds_for_counts_only(cache):
    sampler = make_sampler(cache, batch_size=10, negative_ratio=0.3)
    seen = set()
    for k in range(40):
        batch = sampler.batch(k)
        seen.add(batch.task)
        if batch.task == "count":
            assert np.count_nonzero(batch.values == 0) == 3
            assert len(batch) == 10
    assert seen == {"count", "score"}


def test_negatives_come_only_from_the_same_task_and_split(cache):
    inside = set(select_labels(cache, split="train", tasks=["count"]).image_rows.tolist())
    sampler = make_sampler(cache, batch_size=10, queries=["*cats*"])
    for k in range(40):
        assert set(sampler.batch(k).rows.tolist()) <= inside


def test_zeros_that_are_stated_are_the_only_negatives(cache):
    cache.label_rows[:] = [
        *[(f"image-{i}", "count", "number of cats.", 2.0, "train", None) for i in range(8)],
        *[(f"image-{i}", "count", "number of cats.", 0.0, "train", None) for i in range(8, 11)],
        *[(f"image-{i}", "count", "number of dogs.", 1.0, "train", None) for i in range(30)],
    ]
    sampler = make_sampler(cache, batch_size=20, negative_ratio=0.5, queries=["*cats*"])
    batch = sampler.batch(0)
    assert set(batch.rows[batch.values == 0].tolist()) == {8, 9, 10}
    assert len(batch) == 11  # eight positives and every known zero: nothing is made up


def test_released_false_negatives_do_occur_when_asked_for(cache):
    labels = truth(cache)
    options = {"batch_size": 16, "negative_ratio": 0.5, "queries": ["*cats*"]}
    mistaken = 0
    sampler = make_sampler(cache, false_negatives="released", **options)
    for k in range(30):
        batch = sampler.batch(k)
        positives = batch.rows[batch.values > 0]
        negatives = batch.rows[batch.values == 0]
        assert not np.isin(negatives, positives).any()
        mistaken += sum((f"image-{r}", batch.query) in labels for r in negatives)
    assert mistaken > 0


def test_without_negatives_labels_are_drawn_as_they_are(cache):
    sampler = make_sampler(cache, negative_ratio=0.0, tasks=["count"])
    assert all((sampler.batch(k).values > 0).all() for k in range(10))


def test_counts_must_be_whole(cache):
    cache.label_rows.append(("image-0", "count", "number of cows.", 1.5, "train", None))
    with pytest.raises(LabelsError, match="has the value"):
        make_sampler(cache)


def test_small_pools_cap_the_batch(cache):
    cache.label_rows[:] = cache.label_rows[:1]
    sampler = make_sampler(cache)
    assert len(sampler.batch(3)) == 1


def test_queries_share_the_images_of_a_batch(cache):
    labels = truth(cache)
    counted = set(select_labels(cache, split="train", tasks=["count"]).image_rows.tolist())
    sampler = make_sampler(cache, batch_size=12, queries_per_batch=3)
    asked = set()
    for k in range(40):
        batch = sampler.batch(k)
        assert len(batch.others) == 2
        assert len(np.unique(batch.rows)) == len(batch) == 12
        assert len({(o.task, o.query) for o in batch.labeled}) == 3
        for one in batch.labeled:
            asked.add(one.query)
            assert np.isfinite(one.values).any()
            for row, value in zip(batch.rows, one.values, strict=True):
                known = labels.get((f"image-{row}", one.query))
                if known is None and one.task == "count" and row in counted:
                    known = 0.0  # absent counts are true zeros in this cache
                assert np.isnan(value) if known is None else value == known
    assert len(asked) == len(sampler.pools[0])
    again = make_sampler(cache, batch_size=12, queries_per_batch=3).batch(39)
    np.testing.assert_array_equal(again.rows, batch.rows)
    assert [o.query for o in again.labeled] == [o.query for o in batch.labeled]


def test_a_query_alone_shares_nothing(cache):
    plain, shared = (make_sampler(cache, queries=["*cats*"]) for _ in range(2))
    shared.config = SamplingConfig(queries_per_batch=8)
    one, other = plain.batch(3), shared.batch(3)
    assert not other.others
    np.testing.assert_array_equal(one.rows, other.rows)


def test_relevance_and_shared_images_do_not_go_together():
    with pytest.raises(ConfigError, match=r"sampling\.queries_per_batch=1"):
        SamplingConfig(relevance=True, queries_per_batch=2)


def test_views_are_drawn_from_those_asked_for(cache):
    both = np.concatenate([make_sampler(cache).batch(k).views for k in range(10)])
    assert set(both.tolist()) == {0, 1}
    only = make_sampler(cache, views=("hflip",)).batch(0).views
    assert set(only.tolist()) == {1}
    with pytest.raises(ConfigError, match="rot90"):
        make_sampler(cache, views=("rot90",))


def test_data_sets_are_drawn_by_weight(cache):
    selection = select_labels(cache, split="train")
    config = SamplingConfig(weights=(3.0, 1.0), batch_size=2)
    sampler = Sampler([selection, selection], [cache.views] * 2, config, 0)
    share = np.mean([sampler.batch(k).shard == 0 for k in range(2000)])
    assert share == pytest.approx(0.75, abs=0.04)
    zero = SamplingConfig(weights=(0.0, 1.0), batch_size=2)
    sampler = Sampler([selection, selection], [cache.views] * 2, zero, 0)
    assert {sampler.batch(k).shard for k in range(100)} == {1}
    with pytest.raises(ConfigError, match="1 weight for 2"):
        Sampler([selection] * 2, [cache.views] * 2, SamplingConfig(weights=(1.0,)), 0)


def test_relevance_rewords_the_prompt_and_the_target(cache):
    labels = truth(cache)
    sampler = make_sampler(cache, relevance=True, relevance_max=3)
    references = set()
    for k in range(40):
        batch = sampler.batch(k)
        assert batch.task == "count"
        reference = int(batch.prompt.rsplit(" ", 1)[1].rstrip("."))
        references.add(reference)
        assert batch.prompt == relevance_prompt(batch.query, reference)
        for row, value in zip(batch.rows, batch.values, strict=True):
            count = labels.get((f"image-{row}", batch.query), 0.0)
            assert value == abs(count - reference)
    assert references == {0, 1, 2, 3}
    assert len(sampler.prompts(0)) == 8


def test_relevance_needs_counts(cache):
    with pytest.raises(LabelsError, match="counting"):
        make_sampler(cache, relevance=True, tasks=["score"])


def test_missing_prompts_are_named_with_the_command(cache):
    require_prompts(cache, ["beauty"], "cache")
    with pytest.raises(LabelsError) as caught:
        require_prompts(cache, ["beauty", "age of the person"], "my/cache")
    assert "featcache prompts my/cache --add 'age of the person'" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"negative_ratio": 1.0},
        {"balance": "classes"},
        {"false_negatives": "some"},
        {"weights": (-1.0,)},
        {"weights": (0.0,)},
        {"value_bins": 0},
        {"relevance_max": -1},
    ],
)
def test_impossible_settings(options):
    with pytest.raises(ConfigError):
        SamplingConfig(**options)


def test_image_rows_cover_every_batch(cache):
    sampler = make_sampler(cache, batch_size=8)
    rows = set(sampler.image_rows(0).tolist())
    assert all(set(sampler.batch(k).rows.tolist()) <= rows for k in range(50))

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adapter.data import feed
from adapter.data.feed import (
    DiskSource,
    Feed,
    MemorySource,
    available_memory,
    choose_source,
    open_source,
    part_of,
    token_layout,
)
from adapter.data.labels import select_labels
from adapter.data.sampling import Sampler
from adapter.data.targets import fit_scales
from adapter.settings import SamplingConfig

CPU = torch.device("cpu")


@given(st.integers(0, 40), st.integers(1, 9))
def test_parts_cover_a_batch_once_and_evenly(count, world):
    parts = [part_of(count, rank, world) for rank in range(world)]
    covered = [i for part in parts for i in range(part.start, part.stop)]
    assert covered == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_sources_gather_the_same_tokens(cache, monkeypatch):
    monkeypatch.setattr(feed, "CHUNK", 7)  # several reads
    rows = np.array([3, 5, 8, 13, 21, 34, 55])
    generator = np.random.default_rng(0)
    wanted = rows[generator.integers(0, len(rows), 30)]
    for views in (np.array([0, 1]), np.array([1])):
        view = views[generator.integers(0, len(views), 30)]
        expected = cache.features[wanted, view]
        for source in (DiskSource(cache), MemorySource(cache, rows, views, CPU)):
            np.testing.assert_array_equal(source.gather(wanted, view).numpy(), expected)


def test_token_layout(cache):
    assert token_layout(cache) == ((4, 8), torch.float16)


def test_memory_is_read_once(cache):
    rows = np.arange(10)
    source = MemorySource(cache, rows, np.array([0]), CPU)
    reads = cache.reads
    source.gather(rows, np.zeros(10, np.int64))
    assert cache.reads == reads


def make_feed(cache, **options):
    selection = select_labels(cache, split="train")
    config = SamplingConfig(batch_size=7)
    sampler = Sampler([selection], [cache.views], config, seed=1)
    scales = fit_scales([(cache.dataset, selection)], "standardize")
    return Feed([cache], sampler, scales, [DiskSource(cache)], CPU, **options), sampler, scales


def test_batches_are_those_of_the_sampler_in_order(cache):
    feeder, sampler, scales = make_feed(cache)
    for step, batch in enumerate(feeder.batches(4, 12), start=4):
        plan = sampler.batch(step)
        assert batch.plan.step == step
        expected = cache.features[plan.rows, plan.views]
        np.testing.assert_array_equal(batch.image_tokens.numpy(), expected)
        np.testing.assert_array_equal(batch.text_tokens.numpy(), cache.prompts[plan.prompt].tokens)
        scale = scales.of_task(0, plan.task)
        np.testing.assert_allclose(batch.targets.numpy(), scale.standardize(plan.values), rtol=1e-6)
    assert step == 11


def test_processes_get_parts_of_the_same_batch(cache):
    whole = next(iter(make_feed(cache)[0].batches(0, 1)))
    parts = [next(iter(make_feed(cache, rank=rank, world=3)[0].batches(0, 1))) for rank in range(3)]
    tokens = torch.cat([p.image_tokens for p in parts])
    assert torch.equal(tokens, whole.image_tokens)
    assert all(torch.equal(p.targets, whole.targets) for p in parts)


def test_leaving_early_ends_the_threads(cache):
    batches = make_feed(cache)[0].batches(0, 1000)
    next(batches)
    batches.close()
    reads = cache.reads
    assert reads < 20
    with pytest.raises(StopIteration):
        next(batches)


def test_the_source_is_chosen_by_size_and_use(monkeypatch):
    monkeypatch.setattr(feed, "available_memory", lambda: 1000)
    assert choose_source(10, 500, CPU, reads=10) == "ram"
    assert choose_source(10, 501, CPU, reads=10) == "disk"
    assert choose_source(10, 500, CPU, reads=9) == "disk"  # most would be read for nothing


def test_auto_opens_what_it_chose(cache):
    rows, views = np.arange(4), np.array([0])
    kind, source = open_source("auto", cache, rows, views, CPU, reads=100)
    assert kind == "ram"
    assert isinstance(source, MemorySource)
    assert open_source("auto", cache, rows, views, CPU, reads=0)[0] == "disk"


def test_available_memory_is_plausible():
    assert 0 < available_memory() < 2**50

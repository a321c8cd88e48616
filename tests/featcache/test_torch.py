"""`CacheDataset` with torch's own loader, workers and samplers."""

from __future__ import annotations

import itertools
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from featcache import Cache
from featcache.errors import ConfigError
from featcache.torch import CacheDataset

if TYPE_CHECKING:
    from pathlib import Path

CATS = "number of cats."  # image n: n cats; n % 3 tells train, val, test; 2 and 7 cannot be read


def test_an_item_is_an_image_and_its_label(small_cache: Path) -> None:
    data = CacheDataset(small_cache, query=CATS, split="train")
    assert [data[n]["path"] for n in range(len(data))] == [
        f"image_{n:02d}.png" for n in (0, 3, 6, 9)
    ]
    item = data[1]
    assert sorted(item) == ["path", "row", "tokens", "value"]
    assert item["value"].dtype == torch.float32
    assert item["value"].item() == 3
    assert item["row"] == 2  # image 2 has no features
    expected = Cache.open(small_cache).tokens([2])[0]
    assert item["tokens"].dtype == torch.float16
    np.testing.assert_array_equal(item["tokens"].numpy(), expected)


def test_splits_folds_and_views(small_cache: Path) -> None:
    cache = Cache.open(small_cache)
    data = CacheDataset(cache, query=CATS, split=("val", "test"))
    assert data.values.tolist() == [1, 4, 5, 8]
    assert data.left_out == 2
    flipped = CacheDataset(cache, query=CATS, split="val", view="hflip")
    np.testing.assert_array_equal(flipped[0]["tokens"].numpy(), cache.tokens([1], "hflip")[0])
    assert len(CacheDataset(cache, query="beauty.", split="train", fold=1)) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"query": "number of cat."},
            "no label has the query 'number of cat.'; there are: beauty., n",
        ),
        (
            {"query": CATS, "split": "tst"},
            "no label has the split 'tst'; there are: test, train, val",
        ),
        ({"query": CATS, "split": ("train", "tset")}, "no label has the split 'tset'"),
        ({"query": CATS, "task": "cats"}, "no label has the task 'cats'; there are: count"),
        ({"query": CATS, "view": "vflip"}, "no view 'vflip'; it has original, hflip"),
        ({"query": "beauty."}, "the labels have folds 0, 1; choose one"),
        ({"query": "beauty.", "fold": 7}, "there is no fold 7; there are 0, 1"),
    ],
)
def test_what_is_not_there_is_named(
    small_cache: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        CacheDataset(small_cache, **arguments)


def test_a_batch_is_one_gather(small_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache.open(small_cache)
    gathered: list[list[int]] = []
    tokens = cache.tokens

    def count(rows: Any, *arguments: Any) -> Any:
        gathered.append(list(rows))
        return tokens(rows, *arguments)

    monkeypatch.setattr(cache, "tokens", count)
    data = CacheDataset(cache, query=CATS, split=("train", "val", "test"))
    batches = list(DataLoader(data, batch_size=3))
    assert gathered == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert batches[0]["tokens"].shape == (3, 4, 6)
    assert batches[0]["value"].tolist() == [0, 1, 3]
    assert batches[0]["path"] == ["image_00.png", "image_01.png", "image_03.png"]


def batches(cache: Path, **options: Any) -> list[dict[str, Any]]:
    data = CacheDataset(cache, query=CATS, split=("train", "val", "test"))
    generator = torch.Generator().manual_seed(0)
    return list(DataLoader(data, batch_size=3, shuffle=True, generator=generator, **options))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_deliver_the_same_batches(small_cache: Path, start: str) -> None:
    alone = batches(small_cache)
    shared = batches(small_cache, num_workers=2, multiprocessing_context=start)
    for one, two in zip(alone, shared, strict=True):
        assert torch.equal(one["tokens"], two["tokens"])
        assert torch.equal(one["value"], two["value"])
        assert one["path"] == two["path"]


def test_processes_of_a_distributed_run_share_the_images(small_cache: Path) -> None:
    data = CacheDataset(small_cache, query=CATS, split=("train", "val", "test"))
    seen = []
    for rank in range(2):
        sampler = DistributedSampler(data, num_replicas=2, rank=rank, seed=3)
        sampler.set_epoch(1)
        loader = DataLoader(data, batch_size=2, sampler=sampler)
        seen.append(list(itertools.chain(*(batch["row"].tolist() for batch in loader))))
    assert [len(rows) for rows in seen] == [4, 4]
    assert sorted(itertools.chain(*seen)) == list(range(8))


def test_survives_pickling(small_cache: Path) -> None:
    data = CacheDataset(small_cache, query=CATS)
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again[2]["tokens"], data[2]["tokens"])
    assert again.rows.tolist() == data.rows.tolist()

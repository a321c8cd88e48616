"""`--batch-size auto`: what a GPU holds, found once."""

import pytest
import torch

from featcache.errors import BackboneError
from featcache.extraction import batch_size
from featcache.extraction.batch_size import fits, largest_power, settled_batch_size
from featcache.extraction.extract import extract
from featcache.extraction.plan import ExtractConfig
from featcache.storage.manifest import Manifest

AUTO = ExtractConfig(batch_size=None, max_failures=1.0)


@pytest.mark.parametrize(
    ("limit", "most", "found"), [(0, 64, 0), (1, 64, 1), (3, 64, 2), (70, 64, 64)]
)
def test_largest_power(limit, most, found):
    tried = []

    def possible(size):
        tried.append(size)
        return size <= limit

    assert largest_power(possible, most) == found
    assert tried == sorted(set(tried))
    assert max(tried) <= most


@pytest.fixture
def holds(monkeypatch, tiny_backbone):
    """Return a function: let the backbone be a GPU that holds so many images of a batch."""

    def hold(images: int) -> None:
        def encode(backbone, pixels, views):
            if len(pixels) > images:
                raise torch.OutOfMemoryError
            return [torch.zeros(1)], [torch.zeros(1)]

        monkeypatch.setattr(batch_size, "encode_views", encode)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        monkeypatch.setattr(tiny_backbone, "device", torch.device("cuda"))

    return hold


def test_what_a_gpu_holds(holds, tiny_backbone, tmp_path):
    holds(100)
    assert fits(tiny_backbone, 100, ["original"])
    assert not fits(tiny_backbone, 101, ["original"])
    assert settled_batch_size(AUTO, tmp_path, tiny_backbone) == 64
    assert settled_batch_size(AUTO.replace(shard_size=40), tmp_path, tiny_backbone) == 32
    assert settled_batch_size(ExtractConfig(batch_size=7), tmp_path, tiny_backbone) == 7


def test_a_gpu_that_is_full(holds, tiny_backbone, tmp_path):
    holds(0)
    with pytest.raises(BackboneError, match="too little memory free"):
        settled_batch_size(AUTO, tmp_path, tiny_backbone)


def test_a_real_pass_fits(tiny_backbone):
    assert fits(tiny_backbone, 2, ["original", "hflip"])


def test_a_cache_keeps_what_was_found(tiny_backbone, image_dataset, tmp_path):
    first = extract(image_dataset, tmp_path / "new", tiny_backbone, AUTO)
    assert first.batch_size == 32  # on a processor
    assert Manifest.read(tmp_path / "new").provenance["batch_size"] == 32
    extract(image_dataset, tmp_path / "three", tiny_backbone, AUTO.replace(batch_size=3))
    assert extract(image_dataset, tmp_path / "three", tiny_backbone, AUTO).batch_size == 3
    assert Manifest.read(tmp_path / "three").provenance["batch_size"] == 3

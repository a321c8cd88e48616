import pytest

from featcache.errors import FingerprintMismatchError
from featcache.extraction.backbone import load_backbone_of
from featcache.storage.manifest import Manifest


def test_the_backbone_of_a_cache_is_loaded_again(small_cache, tiny_backbone):
    loaded = load_backbone_of(Manifest.read(small_cache))
    assert loaded.identity == tiny_backbone.identity


def test_another_one_is_refused_by_name(small_cache):
    with pytest.raises(FingerprintMismatchError, match=r"  weights: .*\nGive --pretrained"):
        load_backbone_of(Manifest.read(small_cache), pretrained="seed:1")

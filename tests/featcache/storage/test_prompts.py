import re

import numpy as np
import pytest

from featcache.errors import CacheFormatError, FingerprintMismatchError, PromptNotFoundError
from featcache.extraction.prompts import encode_prompts
from featcache.storage.manifest import Manifest
from featcache.storage.prompts import open_prompts, write_prompts


@pytest.fixture
def manifest(small_cache):
    return Manifest.read(small_cache)


@pytest.fixture
def open_in(manifest):
    return lambda folder, **k: open_prompts(
        folder, **{"shapes": manifest.shapes, "fingerprint": manifest.fingerprint, **k}
    )


def test_round_trip(tmp_path, tiny_backbone, manifest, open_in):
    texts = ["b.", "a \u2028 line.", "名前."]
    prompts = encode_prompts(tiny_backbone, [*texts, "b."])
    write_prompts(tmp_path, prompts, manifest.fingerprint)
    index = open_in(tmp_path)
    assert list(index.rows) == sorted(texts)
    for text in texts:
        found = index.read(text)
        np.testing.assert_array_equal(found.tokens, prompts[text].tokens)
        np.testing.assert_array_equal(found.pooled, prompts[text].pooled)
    assert index.damaged() == []
    content = (tmp_path / "prompts.h5").read_bytes()
    write_prompts(tmp_path, dict(reversed(prompts.items())), manifest.fingerprint)
    assert (tmp_path / "prompts.h5").read_bytes() == content


def test_a_missing_prompt_says_how_to_add_it(small_cache, open_in):
    with pytest.raises(PromptNotFoundError, match=re.escape("--add 'no such prompt'")):
        open_in(small_cache).read("no such prompt")


@pytest.mark.parametrize("name", ["tokens", "pooled", "digests"])
def test_a_damaged_prompt_is_not_read(cache_copy, open_in, name):
    file = cache_copy / "prompts.h5"
    content = bytearray(file.read_bytes())
    content[open_in(cache_copy).regions[name].offset] ^= 1
    file.write_bytes(content)
    index = open_in(cache_copy)
    first, second = index.rows
    assert index.damaged() == [0]
    with pytest.raises(CacheFormatError, match="featcache repair"):
        index.read(first)
    index.read(second)


def test_prompts_of_another_text_tower_are_refused(small_cache, manifest, open_in):
    from dataclasses import replace

    for key in ("weights", "architecture"):
        backbone = {**manifest.fingerprint.backbone, key: "other"}
        with pytest.raises(FingerprintMismatchError, match="another text tower"):
            open_in(small_cache, fingerprint=replace(manifest.fingerprint, backbone=backbone))
    other = replace(manifest.fingerprint, dtype="int8", views=("original",))
    open_in(small_cache, fingerprint=other)  # prompts do not depend on how images are stored


def test_a_damaged_list(cache_copy, open_in):
    file = cache_copy / "prompts.h5"
    content = bytearray(file.read_bytes())
    content[open_in(cache_copy).regions["prompts"].offset] ^= 1
    file.write_bytes(content)
    with pytest.raises(CacheFormatError, match="list of prompts"):
        open_in(cache_copy)


def test_a_cache_without_a_prompt_file_holds_no_prompts(tmp_path, open_in):
    index = open_in(tmp_path)
    assert (index.rows, index.damaged()) == ({}, [])
    with pytest.raises(PromptNotFoundError, match="featcache prompts"):
        index.read("a.")

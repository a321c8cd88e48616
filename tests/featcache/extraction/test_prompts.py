"""What is encoded, when, and that nothing else is."""

import numpy as np
import pytest

from featcache.errors import BackboneError
from featcache.extraction.prompts import add_prompts, encode_prompts, stored_prompts
from featcache.storage.manifest import Manifest


def test_a_prompt_does_not_depend_on_its_neighbors(tiny_backbone):
    alone = encode_prompts(tiny_backbone, ["a."])["a."]
    among = encode_prompts(tiny_backbone, ["0.", "a.", "longer than that."])["a."]
    np.testing.assert_array_equal(alone.tokens, among.tokens)


def test_only_what_is_missing_is_encoded(cache_copy, tiny_backbone):
    manifest = Manifest.read(cache_copy)
    there = stored_prompts(cache_copy, manifest)
    assert add_prompts(cache_copy, manifest, list(there), lambda: pytest.fail("loaded")) == 2
    assert add_prompts(cache_copy, manifest, ["new."], lambda: tiny_backbone) == 3
    now = stored_prompts(cache_copy, manifest)
    assert now.keys() == {*there, "new."}
    for text, prompt in there.items():
        np.testing.assert_array_equal(now[text].tokens, prompt.tokens)


def test_a_prompt_that_is_too_long_is_told_before_the_others_are_encoded(
    cache_copy, tiny_backbone, monkeypatch
):
    monkeypatch.setattr(tiny_backbone, "encode_prompts", lambda _: pytest.fail("encoded"))
    manifest = Manifest.read(cache_copy)
    with pytest.raises(BackboneError, match="has 22 tokens"):
        add_prompts(cache_copy, manifest, ["a.", "zebra " * 20], lambda: tiny_backbone)

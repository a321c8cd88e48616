from __future__ import annotations

import json

import pytest
import torch

from adapter.methods.text import SoftText
from featcache.backbone import BackboneSpec, load_backbone
from featcache.errors import BackboneError

CUSTOM = {
    "embed_dim": 16,
    "custom_text": True,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def custom_text(tmp_path_factory):
    path = tmp_path_factory.mktemp("custom") / "custom.json"
    path.write_text(json.dumps(CUSTOM))
    return SoftText(load_backbone(BackboneSpec(model_config=str(path), pretrained="seed:1")))


@pytest.mark.parametrize("tower", ["soft_text", "custom_text"])
def test_learned_vectors_equal_to_a_words_embeddings_give_that_words_prompt(request, tower):
    text = request.getfixturevalue(tower)
    words = ["a photo of a cat", "a photo of a dog"]
    template = text.template(4, ["cat", "dog"])
    ids = text.tokenize([f"{word}." for word in words])
    learned = text.embed(ids)[:, 1:5]  # a photo of a
    with torch.no_grad():
        torch.testing.assert_close(
            text.encode_soft(template, learned), text.encode([f"{word}." for word in words])
        )


@pytest.mark.parametrize("tower", ["soft_text", "custom_text"])
def test_gradients_reach_the_learned_vectors_and_nothing_else(request, tower):
    text = request.getfixturevalue(tower)
    template = text.template(2, ["old", "young person"], 2)
    learned = torch.zeros(2, 4, text.width, requires_grad=True)
    text.encode_soft(template, learned)[:, 0].sum().backward()
    assert learned.grad is not None
    assert (learned.grad.abs().sum(dim=-1) > 0).all()
    assert all(p.grad is None for p in text._model.parameters())


def test_slots_before_and_after_a_text(soft_text):
    template = soft_text.template(2, ["old", "a young person"], 1)
    assert template.slots.tolist() == [[1, 2, 4], [1, 2, 6]]


def test_a_prompt_that_does_not_fit_is_refused(custom_text):
    with pytest.raises(BackboneError, match="tokens"):
        custom_text.template(40, ["old"])


def test_the_hook_is_gone_after_use(soft_text):
    before = soft_text.encode(["x x."])
    template = soft_text.template(2, [""])
    soft_text.encode_soft(template, torch.ones(1, 2, soft_text.width))
    torch.testing.assert_close(soft_text.encode(["x x."]), before, rtol=0, atol=0)

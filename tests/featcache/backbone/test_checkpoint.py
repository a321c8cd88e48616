"""Weights from files beside the model's own: reading them, and another text tower."""

import pytest
import torch
from safetensors.torch import save_file

from featcache.backbone import BackboneSpec, load_backbone
from featcache.backbone.checkpoint import read_weights
from featcache.backbone.digest import weights_digest
from featcache.errors import BackboneError
from featcache.storage.fingerprint import Fingerprint


def text_state(backbone):
    """The text weights of a backbone, moved a little, as training would."""
    generator = torch.Generator().manual_seed(2)
    return {
        name: value + 0.1 * torch.randn(value.shape, generator=generator)
        for name, value in backbone.model.state_dict().items()
        if not name.startswith("visual.")
    }


def fingerprint(backbone):
    return Fingerprint(
        backbone=backbone.identity, preprocessing={}, views=("original",), dtype="float16"
    )


@pytest.mark.parametrize("form", ["safetensors", "module"])
@pytest.mark.parametrize("name", ["tiny-vit", "tiny-vit-avg"])
def test_another_text_tower_changes_prompts_and_nothing_else(tiny, tmp_path, name, form):
    public = tiny(name)
    state = text_state(public)
    path = tmp_path / ("text.safetensors" if form == "safetensors" else "whole.pt")
    if form == "safetensors":
        save_file(state, path)
    else:
        whole = state | {"visual.other": torch.ones(2), "adapter.reg_ln.weight": torch.ones(3)}
        torch.save({"state_dict": {f"module.{k}": v for k, v in whole.items()}}, path)
    backbone = load_backbone(BackboneSpec(**{**public.spec.to_dict(), "text_weights": str(path)}))
    assert backbone.identity == public.identity | {"text_weights": weights_digest(state)}
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(backbone.encode_images(images).tokens, public.encode_images(images).tokens)
    before, after = public.encode_prompts(["a cat"]), backbone.encode_prompts(["a cat"])
    assert not torch.allclose(before.tokens, after.tokens, atol=1e-3)
    held = backbone.model.state_dict()
    for key, value in state.items():
        assert torch.equal(held[key], value)
    # Prompts of the two are told apart in the cache.
    assert fingerprint(public).prompt_identity() != fingerprint(backbone).prompt_identity()
    assert not any(value.requires_grad for value in backbone.model.parameters())


def test_without_a_file_the_identity_is_as_it_was(tiny):
    assert "text_weights" not in tiny("tiny-vit").identity
    assert set(fingerprint(tiny("tiny-vit")).prompt_identity()) == {"architecture", "weights"}


def test_text_weights_are_loaded_strictly(tiny, tmp_path):
    state = text_state(tiny("tiny-vit"))

    def refuse(changed, message):
        save_file(changed, tmp_path / "text.safetensors")
        spec = tiny("tiny-vit").spec.to_dict() | {
            "text_weights": str(tmp_path / "text.safetensors")
        }
        with pytest.raises(BackboneError, match=message):
            load_backbone(BackboneSpec(**spec))

    missing = {k: v for k, v in state.items() if not k.startswith("ln_final")}
    refuse(missing, r"does not fit .*2 missing \(ln_final.weight, ln_final.bias\)")
    refuse(state | {"transformer.more": torch.ones(1)}, r"1 unexpected \(transformer.more\)")
    shape = {"positional_embedding": torch.ones(77, 32)}
    refuse(state | shape, r"positional_embedding \[77, 32\] instead of \[16, 32\]")


def test_files_that_hold_no_weights(tmp_path):
    with pytest.raises(BackboneError, match=r"--text-weights .*none\.pt: no such file"):
        read_weights(tmp_path / "none.pt", "--text-weights ")
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(BackboneError, match="cannot be read as weights alone"):
            read_weights(tmp_path / name, "--text-weights ")
    torch.save([1, 2], tmp_path / "list.pt")
    assert read_weights(tmp_path / "list.pt", "") == {}

import json
import os
from pathlib import Path

import pytest
import torch

from featcache.backbone import DEMO_NAME, BackboneSpec, load_backbone
from featcache.errors import BackboneError, ConfigError


def test_the_identity_is_json_and_tells_settings_apart(tiny):
    backbones = [
        tiny("tiny-vit"),
        tiny("tiny-vit", pretrained="seed:1"),
        tiny("tiny-vit", projection="none"),
        tiny("tiny-vit", token_pool=2),
        tiny("tiny-vit-avg"),
        tiny("tiny-convnext-mlp", projection="random:0"),
        tiny("tiny-convnext-mlp", projection="random:1"),
    ]
    texts = {json.dumps(b.identity, sort_keys=True) for b in backbones}
    assert len(texts) == len(backbones)
    assert set(backbones[0].identity) == {
        "architecture", "config", "weights", "projection", "token_pool",
    }  # fmt: skip


def test_everything_is_frozen(tiny):
    backbone = tiny("tiny-convnext-mlp", projection="random:0")
    assert not any(m.training for m in backbone.model.modules())  # DropPath is off
    assert not any(p.requires_grad for p in backbone.model.parameters())
    features = backbone.encode_images(torch.randn(1, 3, 96, 96))
    assert not features.tokens.requires_grad


def test_preprocessing_is_that_of_the_model(tiny):
    preprocessing = tiny("tiny-resnet").preprocessing
    assert (preprocessing.size, preprocessing.resize) == (64, "squash")
    assert preprocessing.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 3, 31, 32), (1, 1, 32, 32)])
def test_images_of_another_shape_are_refused(shape, tiny):
    with pytest.raises(BackboneError, match=r"expected \[B, 3, 32, 32\]"):
        tiny("tiny-vit").encode_images(torch.zeros(shape))


def test_a_tower_that_contradicts_its_config_is_caught(config_file):
    spec = BackboneSpec(model_config=config_file("tiny-vit"), pretrained="seed:0")
    backbone = load_backbone(spec)
    backbone.pooled_dim = 25
    with pytest.raises(BackboneError, match=r"pooled \[1, 24\], its config says"):
        backbone.encode_images(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_is_close_and_float32_outside(precision, tiny, config_file):
    spec = BackboneSpec(model_config=config_file("tiny-vit"), pretrained="seed:0")
    mixed = load_backbone(spec, precision=precision)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found, exact = mixed.encode_images(x), tiny("tiny-vit").encode_images(x)
    for a, b in zip(found, exact, strict=True):
        assert a.dtype == torch.float32
        assert 0 < float((a - b).abs().max() / b.abs().max()) < 0.05
    assert mixed.identity == tiny("tiny-vit").identity  # weights stay float32


def test_auto_means_float32_on_a_cpu(config_file):
    spec = BackboneSpec(model_config=config_file("tiny-vit"), pretrained="seed:0")
    assert load_backbone(spec, precision="auto").precision == "fp32"


def test_devices_and_precisions_that_are_not_there(config_file, monkeypatch):
    spec = BackboneSpec(model_config=config_file("tiny-vit"), pretrained="seed:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no usable CUDA device"):
        load_backbone(spec, device="cuda")
    with pytest.raises(ConfigError, match="unknown device"):
        load_backbone(spec, device="toaster")
    with pytest.raises(ConfigError, match="unknown precision"):
        load_backbone(spec, precision="fp8")


# --- the embedded demo backbone ------------------------------------------------------------------


def test_the_demo_backbone_keeps_color_and_place():
    backbone = load_backbone(BackboneSpec(name=DEMO_NAME, pretrained="seed:0"))
    size = backbone.preprocessing.size
    side = int(backbone.num_tokens**0.5)
    patch = size // side
    red, green = torch.zeros(2, 3, size, size)
    red[0, :patch, :patch] = 2.0
    green[1, :patch, :patch] = 2.0
    blank = torch.zeros(3, size, size)
    tokens = backbone.encode_images(torch.stack([blank, red, green])).tokens
    moved = (tokens[1:] - tokens[0]).norm(dim=-1)  # [2, P]
    assert moved.argmax(-1).tolist() == [0, 0]
    assert (moved[:, 0] > 3 * moved[:, 1:].amax(-1)).all()
    assert (tokens[1, 0] - tokens[2, 0]).norm() > 0.3 * moved[:, 0].max()


def test_the_demo_backbone_is_never_taken_for_pretrained():
    with pytest.raises(BackboneError, match="seed:N"):
        BackboneSpec(name=DEMO_NAME)


# --- real architectures --------------------------------------------------------------------------


@pytest.mark.slow
def test_the_default_architecture():
    """ConvNeXt-L at 320 px, all of it, with random weights: 100 tokens of 768."""
    backbone = load_backbone(BackboneSpec(pretrained="seed:0"))
    x = torch.randn(1, 3, 320, 320, generator=torch.Generator().manual_seed(0))
    features = backbone.encode_images(x)
    assert features.tokens.shape == (1, 100, 768)
    assert (backbone.text_dim, backbone.context_length) == (768, 77)
    reference = backbone.model.encode_image(x)
    assert float((features.pooled - reference).abs().max() / reference.abs().max()) < 1e-5


@pytest.mark.shared
def test_the_shared_vit_has_real_features():
    root = os.environ.get("FEATCACHE_SHARED")
    if root is None:
        pytest.skip("FEATCACHE_SHARED is not set")
    folder = Path(root) / "backbones"
    spec = BackboneSpec(
        model_config=str(folder / "vit-s14-photo.json"),
        pretrained=str(folder / "vit-s14-photo.safetensors"),
    )
    backbone = load_backbone(spec)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    features = backbone.encode_images(x)
    assert features.tokens.shape == (2, 256, 384)
    reference, _ = backbone.model.encode_image(x)  # this config asks for tokens as well
    assert float((features.pooled - reference).abs().max() / reference.abs().max()) < 1e-5
    assert backbone.encode_prompts(["a cat"]).tokens.shape == (1, 77, 384)

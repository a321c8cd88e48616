"""Towers without their table of positions, or with a stretched one, against plain readings."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from featcache.backbone import BackboneSpec, load_backbone, positions
from featcache.backbone.towers import make_tower
from featcache.errors import BackboneError, ConfigError

SIZES = [(32, 32), (40, 61), (96, 33), (70, 100)]  # the last location's rest is cut off
TOWERS = ["tiny-resnet", "tiny-vit", "tiny-vit-avg"]


def images(height: int, width: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", TOWERS)
def test_at_the_trained_size_interpolated_is_the_tower_itself(name, tiny):
    backbone = tiny(name)
    size = backbone.preprocessing.size
    tower = make_tower(backbone.model.visual, name, "interpolated")
    tokens, pooled = tower(images(size, size))
    plain = make_tower(backbone.model.visual, name)(images(size, size))
    torch.testing.assert_close(tokens, plain[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pooled, plain[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pooled, backbone.model.encode_image(images(size, size)))


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("choice", ["none", "interpolated"])
@pytest.mark.parametrize("size", SIZES)
def test_any_size_as_the_tower_itself_with_another_table(name, choice, size, tiny):
    """A tower of OpenCLIP whose table was made to fit gives the same."""
    visual = tiny(name).model.visual
    owner = visual.attnpool if name == "tiny-resnet" else visual
    stride = make_tower(visual, name).stride
    count = 1 + (size[0] // stride) * (size[1] // stride)
    table = owner.positional_embedding
    zeros = torch.zeros(count, table.shape[1])
    fitting = zeros if choice == "none" else stretched(table, count)
    tower = make_tower(visual, name, choice)
    _, pooled = tower(images(*size))
    owner.positional_embedding = torch.nn.Parameter(fitting, requires_grad=False)
    try:
        torch.testing.assert_close(pooled, visual(images(*size)), rtol=1e-4, atol=1e-5)
    finally:
        owner.positional_embedding = table


def stretched(table: torch.Tensor, count: int) -> torch.Tensor:
    """Bicubic interpolation along the rows, written out (Keys 1981, a = -0.75, half pixels)."""

    def weight(distance: float) -> float:
        d, a = abs(distance), -0.75
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0

    rows = []
    for n in range(count):
        place = (n + 0.5) * len(table) / count - 0.5
        base = math.floor(place)
        rows.append(
            sum(
                weight(place - i) * table[min(max(i, 0), len(table) - 1)]
                for i in range(base - 1, base + 3)
            )
        )
    return torch.stack(rows)


@pytest.mark.parametrize("name", TOWERS)
def test_each_image_of_a_batch_is_on_its_own(name, tiny):
    tower = make_tower(tiny(name).model.visual, name, "none")
    batch = images(48, 64, count=3)
    _, together = tower(batch)
    alone = torch.cat([tower(one[None])[1] for one in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_attention_in_parts_is_attention(tiny, monkeypatch):
    tower = make_tower(tiny("tiny-vit").model.visual, "tiny-vit", "none")
    _, whole = tower(images(96, 96))
    monkeypatch.setattr(positions, "_ATTENTION_VALUES", 2000)
    _, parts = tower(images(96, 96))
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_the_last_block_and_the_pool_are_float32(name, precision, tiny):
    visual = tiny(name).model.visual
    seen = {}

    def watch(module: torch.nn.Module, key: str) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_hook(lambda _, __, output: seen.update({key: output.dtype}))

    resnet = name == "tiny-resnet"
    hooks = [
        watch(visual.layer1 if resnet else visual.transformer.resblocks[0].mlp.c_fc, "first"),
        watch(visual.layer4[-1] if resnet else visual.transformer.resblocks[-1].mlp, "last"),
    ]
    try:
        with torch.autocast("cpu", dtype=precision):
            tokens, pooled = make_tower(visual, name, "none")(images(64, 64))
    finally:
        for hook in hooks:
            hook.remove()
    assert seen == {"first": precision, "last": torch.float32}
    assert tokens.dtype == pooled.dtype == torch.float32
    exact = make_tower(visual, name, "none")(images(64, 64))[1]
    torch.testing.assert_close(pooled, exact, rtol=0.1, atol=0.1)


def test_the_pool_sums_what_half_precision_cannot_hold(tiny):
    """Values of 50,000 overflow float16 when they meet their weights; the pool is in float32."""
    pool = tiny("tiny-resnet").model.visual.attnpool
    width = pool.v_proj.in_features
    visual = SimpleNamespace(
        stem=lambda x: x,
        layer1=torch.nn.Identity(),
        layer2=torch.nn.Identity(),
        layer3=torch.nn.Identity(),
        layer4=torch.nn.Sequential(torch.nn.Identity()),
        attnpool=pool,
    )
    large = torch.full((1, width, 3, 3), 50_000.0)
    with torch.autocast("cpu", dtype=torch.float16):
        _, pooled = positions.resnet_forward(visual, large, "none")
    assert torch.isfinite(pooled).all()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tiny-convnext-mlp", "is a ConvNeXt, which has no positions"),
        ("tiny-timm-vit", "is a ViT of timm"),
    ],
)
def test_towers_that_cannot_say_why(name, reason, config_file):
    for choice in ("none", "interpolated"):
        spec = BackboneSpec(
            model_config=str(config_file(name)), pretrained="seed:0", positions=choice
        )
        with pytest.raises(BackboneError, match=f"{name} {reason}"):
            load_backbone(spec)


def test_blocks_of_another_kind_are_refused(tiny):
    visual = tiny("tiny-vit").model.visual
    visual.transformer.resblocks.append(torch.nn.Identity())
    try:
        with pytest.raises(BackboneError, match="blocks of CLIP's own ViT"):
            make_tower(visual, "tiny-vit", "none")
    finally:
        del visual.transformer.resblocks[-1]


def spec_of(config_file, name: str, **fields: str) -> BackboneSpec:
    return BackboneSpec(model_config=str(config_file(name)), pretrained="seed:0", **fields)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("tiny-resnet", {"positions": "none"}),
        ("tiny-vit", {"positions": "interpolated"}),
        ("tiny-convnext-mlp", {}),
    ],
)
def test_pooled_embeddings_of_any_size(name, fields, config_file):
    spec = spec_of(config_file, name, resize="native", tokens="none", **fields)
    backbone = load_backbone(spec)
    assert (backbone.num_tokens, backbone.token_dim) == (0, 0)
    features = backbone.encode_images(images(70, 100))
    assert features.tokens.shape == (2, 0, 0)
    assert features.pooled.shape == (2, backbone.pooled_dim)
    least = backbone.preprocessing.min_side
    with pytest.raises(BackboneError, match=f"H, W >= {least}"):
        backbone.encode_images(images(70, least - 1))


@pytest.mark.parametrize("name", ["tiny-resnet", "tiny-vit"])
def test_a_table_of_one_size_is_told(name, config_file):
    with pytest.raises(BackboneError, match=r"--resize native: .* --positions none, as CLIP-IQA"):
        load_backbone(spec_of(config_file, name, resize="native", tokens="none"))


def test_a_timm_vit_reads_one_size(config_file):
    with pytest.raises(BackboneError, match="ViT of timm, which reads images of its own size"):
        load_backbone(spec_of(config_file, "tiny-timm-vit", resize="short:200", tokens="none"))


def test_what_contradicts_itself_is_told_before_anything_is_loaded():
    with pytest.raises(BackboneError, match="give --tokens none as well"):
        BackboneSpec(resize="native")
    with pytest.raises(BackboneError, match="leave out --projection and --token-pool"):
        BackboneSpec(tokens="none", token_pool=2)
    with pytest.raises(BackboneError, match="positions must be one of default, none, interp"):
        BackboneSpec(positions="learned")
    for text in ("short", "short:", "short:0", "short:-3", "short:1e3", "long:5", "Native"):
        with pytest.raises(ConfigError, match="squash, native or short:N"):
            BackboneSpec(resize=text, tokens="none")


def test_defaults_leave_no_trace_and_others_are_in_the_identity(config_file):
    plain = load_backbone(spec_of(config_file, "tiny-resnet"))
    assert not {"resize", "positions", "tokens"} & plain.spec.to_dict().keys()
    assert not {"positions", "tokens"} & plain.identity.keys()
    assert plain.preprocessing.to_dict()["resize"] == "squash"
    other = load_backbone(
        spec_of(config_file, "tiny-resnet", positions="none", tokens="none", resize="short:48")
    )
    assert BackboneSpec.from_dict(other.spec.to_dict()) == other.spec
    assert (other.identity["positions"], other.identity["tokens"]) == ("none", "none")
    assert other.preprocessing.to_dict()["resize"] == "short:48"

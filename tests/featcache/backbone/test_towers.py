"""Each tower family: shapes, agreement with OpenCLIP, and where a token comes from."""

import pytest
import torch
from torch import nn

from featcache.backbone.towers import make_tower
from featcache.errors import BackboneError

GRIDS = {
    "tiny-vit": 4,
    "tiny-vit-avg": 4,
    "tiny-convnext-mlp": 3,
    "tiny-convnext-linear": 3,
    "tiny-convnext-fc": 3,
    "tiny-timm-vit": 10,
    "tiny-resnet": 2,
}


def images(backbone, n=2, seed=0):
    size = backbone.preprocessing.size
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def relative(a, b):
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("name", GRIDS)
def test_shapes_and_the_pooled_embedding(name, tiny):
    backbone = tiny(name)
    x = images(backbone, 3)
    tokens, pooled = backbone.encode_images(x)
    assert tokens.shape == (3, backbone.num_tokens, backbone.token_dim) == (3, GRIDS[name] ** 2, 24)
    assert pooled.shape == (3, backbone.pooled_dim) == (3, 24)
    assert tokens.dtype == pooled.dtype == torch.float32
    assert relative(pooled, backbone.model.encode_image(x)) < 1e-5


@pytest.mark.parametrize("name", GRIDS)
def test_tokens_vary_with_place_and_content(name, tiny):
    backbone = tiny(name)
    tokens = backbone.encode_images(images(backbone)).tokens
    assert (tokens[0] - tokens[1]).abs().amax(-1).min() > 1e-5
    assert (tokens[:, 1:] - tokens[:, :-1]).abs().amax(-1).min() > 1e-5


@pytest.mark.parametrize("name", GRIDS)
def test_the_same_batch_gives_the_same_bits(name, tiny):
    backbone = tiny(name)
    x = images(backbone)
    first, second = backbone.encode_images(x), backbone.encode_images(x)
    assert torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.pooled, second.pooled)


def test_vit_tokens_with_a_mean_pool_average_to_the_pooled_embedding(tiny):
    """With pool 'avg' and no final LayerNorm in between, mean and projection commute."""
    backbone = tiny("tiny-vit-avg", projection="none")
    visual = backbone.model.visual
    x = images(backbone)
    raw = visual.transformer(visual._embeds(x))[:, 1:]  # [B, P, W]
    torch.testing.assert_close(backbone.encode_images(x).tokens, visual.ln_post(raw))
    pooled = visual.ln_post(raw.mean(1)) @ visual.proj
    torch.testing.assert_close(backbone.encode_images(x).pooled, pooled)


def test_vit_clip_tokens_are_what_pooling_that_token_would_give(tiny):
    backbone = tiny("tiny-vit")
    visual = backbone.model.visual
    x = images(backbone)
    raw = visual.transformer(visual._embeds(x))  # [B, 1 + P, W]
    expected = visual.ln_post(raw) @ visual.proj
    features = backbone.encode_images(x)
    torch.testing.assert_close(features.tokens, expected[:, 1:])
    torch.testing.assert_close(features.pooled, expected[:, 0])


@pytest.mark.parametrize("name", ["tiny-convnext-mlp", "tiny-convnext-linear", "tiny-convnext-fc"])
def test_convnext_clip_tokens_are_the_pooled_path_of_one_location(name, tiny):
    """Cutting the map down to one location and pooling it must give that location's token."""
    backbone = tiny(name)
    visual = backbone.model.visual
    x = images(backbone)
    features = visual.trunk.forward_features(x)  # [B, W, h, w]
    tokens = backbone.encode_images(x).tokens
    side = features.shape[-1]
    for place in range(side * side):
        one = features[:, :, place // side, place % side, None, None]  # [B, W, 1, 1]
        expected = visual.head(visual.trunk.forward_head(one))
        torch.testing.assert_close(tokens[:, place], expected)


def test_resnet_clip_tokens_are_the_pool_attending_to_one_location(tiny):
    backbone = tiny("tiny-resnet")
    visual, pool = backbone.model.visual, backbone.model.visual.attnpool
    x = images(backbone)
    features = visual.forward_intermediates(x, indices=1)["image_intermediates"][-1]
    tokens = backbone.encode_images(x).tokens
    expected = pool.c_proj(pool.v_proj(features[:, :, 1, 0]))  # row 1, column 0
    torch.testing.assert_close(tokens[:, 2], expected)
    none = tiny("tiny-resnet", projection="none")
    torch.testing.assert_close(none.encode_images(x).tokens[:, 1], features[:, :, 0, 1])


def test_tokens_are_row_major(tiny):
    """A change in one corner of the image moves the tokens of that corner most."""
    backbone = tiny("tiny-convnext-mlp", projection="none")
    x = images(backbone, 1)
    changed = x.clone()
    changed[..., :20, -20:] += 3  # top right
    delta = (backbone.encode_images(changed).tokens - backbone.encode_images(x).tokens).abs()
    assert int(delta[0].sum(-1).argmax()) == 2


def test_unknown_towers_are_refused():
    with pytest.raises(BackboneError, match=r"x: image towers of type Linear are not supported"):
        make_tower(nn.Linear(2, 2), "x")

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from featcache.backbone.projection import pool_tokens
from featcache.errors import BackboneError

FC = "visual.trunk.head.fc"


def images(backbone, n=2):
    size = backbone.preprocessing.size
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def locations(tiny):
    backbone = tiny("tiny-convnext-mlp", projection="none")
    return backbone.encode_images(images(backbone)).tokens


def test_none_keeps_the_normalized_channels(tiny, locations):
    backbone = tiny("tiny-convnext-mlp", projection="none")
    assert backbone.token_dim == backbone.model.visual.trunk.num_features == locations.shape[-1]
    torch.testing.assert_close(locations.mean(-1), torch.zeros(2, 9), atol=1e-4, rtol=0)


def test_random_is_a_seeded_linear_map_of_the_normalized_map(tiny, locations):
    backbone = tiny("tiny-convnext-mlp", projection="random:7")
    weight = torch.empty(24, locations.shape[-1])
    torch.nn.init.trunc_normal_(weight, std=0.02, generator=torch.Generator().manual_seed(7))
    tokens = backbone.encode_images(images(backbone)).tokens
    torch.testing.assert_close(tokens, locations @ weight.T)


def test_random_does_not_depend_on_or_touch_the_global_seed(config_file):
    from featcache.backbone import BackboneSpec, load_backbone

    spec = BackboneSpec(
        model_config=config_file("tiny-convnext-mlp"), pretrained="seed:3", projection="random:1"
    )
    torch.manual_seed(5)
    first = load_backbone(spec)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert load_backbone(spec).identity == first.identity


@pytest.mark.parametrize("form", ["safetensors", "nested", "module", "flat"])
def test_checkpoint_takes_the_released_map(form, tiny, locations, tmp_path):
    width = locations.shape[-1]
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(16, width, 1, 1, generator=generator)
    bias = torch.randn(16, generator=generator)
    state = {f"{FC}.weight": weight, f"{FC}.bias": bias, "adapter.reg_ln.weight": torch.ones(3)}
    path = tmp_path / ("map.safetensors" if form == "safetensors" else "map.pt")
    if form == "safetensors":
        save_file(state, path)
    elif form == "nested":
        torch.save({"epoch": 3, "state_dict": state}, path)
    elif form == "module":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    else:
        torch.save(state, path)
    backbone = tiny("tiny-convnext-mlp", projection=f"checkpoint:{path}")
    assert backbone.token_dim == 16
    tokens = backbone.encode_images(images(backbone)).tokens
    torch.testing.assert_close(tokens, locations @ weight[:, :, 0, 0].T + bias)
    assert set(backbone.identity["projection"]) == {"kind", "weights"}  # the file's path is not


def test_checkpoints_that_do_not_do_are_refused(tiny, locations, tmp_path):
    width = locations.shape[-1]
    ok = {f"{FC}.weight": torch.ones(8, width, 1, 1), f"{FC}.bias": torch.ones(8)}
    cases = {
        "bare.pt": ({"visual.proj": torch.ones(3)}, f"holds no {FC}.weight"),
        "bias.pt": ({f"{FC}.weight": ok[f"{FC}.weight"]}, f"holds no {FC}.bias"),
        "wide.pt": ({**ok, f"{FC}.weight": torch.ones(8, width + 1, 1, 1)}, "expected"),
        "short.pt": ({**ok, f"{FC}.bias": torch.ones(7)}, "expected"),
        "list.pt": ([1, 2], "holds no"),
    }
    for name, (content, message) in cases.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(BackboneError, match=message):
            tiny("tiny-convnext-mlp", projection=f"checkpoint:{tmp_path / name}")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    for name in ("junk.pt", "junk.safetensors"):
        with pytest.raises(BackboneError, match="cannot be read as weights alone"):
            tiny("tiny-convnext-mlp", projection=f"checkpoint:{tmp_path / name}")
    with pytest.raises(BackboneError, match="no such file"):
        tiny("tiny-convnext-mlp", projection=f"checkpoint:{tmp_path / 'none.pt'}")


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-resnet", "tiny-timm-vit"])
def test_only_convnext_has_a_choice(name, tiny):
    with pytest.raises(BackboneError, match="clip or none"):
        tiny(name, projection="random:0")


@given(data=st.data(), k=st.integers(1, 4))
def test_pooling_is_the_mean_over_blocks(data, k):
    h, w = (k * data.draw(st.integers(1, 3)) for _ in range(2))
    tokens = torch.arange(2.0 * h * w * 3).view(2, h * w, 3) ** 0.5
    pooled = pool_tokens(tokens, (h, w), k)
    image = tokens.transpose(1, 2).reshape(2, 3, h, w)
    expected = torch.nn.functional.avg_pool2d(image, k).flatten(2).transpose(1, 2)
    torch.testing.assert_close(pooled, expected)


def test_pooling_comes_after_the_projection(tiny):
    plain, pooled = tiny("tiny-vit"), tiny("tiny-vit", token_pool=2)
    assert pooled.num_tokens == 4
    x = images(plain)
    tokens = pool_tokens(plain.encode_images(x).tokens, (4, 4), 2)
    torch.testing.assert_close(pooled.encode_images(x).tokens, tokens)
    assert torch.equal(pooled.encode_images(x).pooled, plain.encode_images(x).pooled)


def test_pooling_must_tile_the_grid(tiny):
    with pytest.raises(BackboneError, match=r"3 x 3 tokens; possible: 1, 3"):
        tiny("tiny-convnext-mlp", token_pool=2)

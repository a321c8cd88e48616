"""The encoder against torch's own modules, written out in the released order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adapter import AdapterConfig
from adapter.network.fusion import CrossModalEncoder, MultiHeadAttention, PostEncoder

CONFIG = AdapterConfig.released(image_dim=16, text_dim=16, width=16)


def reference_attention(ours: MultiHeadAttention) -> nn.MultiheadAttention:
    width = ours.in_proj_weight.shape[1]
    theirs = nn.MultiheadAttention(width, ours.heads, batch_first=True)
    theirs.load_state_dict(ours.state_dict())  # the same names
    return theirs.eval()


def randomize(module: nn.Module) -> None:
    """Give biases and norms values other than their initial ones."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def text() -> Tensor:
    return torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(2))


def test_attention_equals_torch(tokens: Tensor, text: Tensor) -> None:
    ours = MultiHeadAttention(16, 8)
    randomize(ours)
    theirs = reference_attention(ours)
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens)[0])
    keys, values = ours.project_keys(text)
    assert keys.shape == values.shape == (3, 8, 7, 2)
    torch.testing.assert_close(ours.attend_to(tokens, keys, values), theirs(tokens, text, text)[0])


def test_one_context_for_all_equals_a_copy_for_each(tokens: Tensor, text: Tensor) -> None:
    ours = MultiHeadAttention(16, 4)
    randomize(ours)
    once = ours.attend_to(tokens, *ours.project_keys(text[:1]))
    each = ours.attend_to(tokens, *ours.project_keys(text[:1].expand(3, -1, -1)))
    torch.testing.assert_close(once, each)


def test_attention_starts_as_torch_does() -> None:
    ours = MultiHeadAttention(64, 8)
    bound = (6 / (64 + 3 * 64)) ** 0.5  # xavier, over the joint matrix
    assert ours.in_proj_weight.abs().max() <= bound
    assert float(ours.in_proj_weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not ours.in_proj_bias.any()
    assert not ours.out_proj.bias.any()


def test_encoder_equals_the_released_order_of_operations(tokens: Tensor, text: Tensor) -> None:
    ours = CrossModalEncoder(CONFIG)
    randomize(ours)
    state = ours.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, (16,), state[f"{name}.weight"], state[f"{name}.bias"])

    def mlp(x: Tensor, name: str) -> Tensor:
        hidden = x @ state[f"{name}.c_fc.weight"].T + state[f"{name}.c_fc.bias"]
        out = functional.gelu(hidden) @ state[f"{name}.c_proj.weight"].T
        return torch.add(out, state[f"{name}.c_proj.bias"])

    x = tokens
    for i in range(2):
        name = f"resblocks.{i}"
        attend = reference_attention(ours.get_submodule(f"{name}.attn"))  # type: ignore[arg-type]
        normed = norm(x, f"{name}.ln_1")
        x = x + attend(normed, normed, normed)[0]
        x = x + mlp(norm(x, f"{name}.ln_2"), f"{name}.mlp")
        name = f"cross_attn.{i}"
        attend = reference_attention(ours.get_submodule(f"{name}.attn"))  # type: ignore[arg-type]
        context = norm(text, f"{name}.ln_1_kv")
        x = x + attend(norm(x, f"{name}.ln_1"), context, context)[0]
        x = x + mlp(norm(x, f"{name}.ln_2"), f"{name}.mlp")
    expected = norm(x, "ln_final") @ state["projection"]
    torch.testing.assert_close(ours(tokens, text), expected, rtol=1e-4, atol=1e-5)


def test_post_encoder_equals_torch(tokens: Tensor) -> None:
    ours = PostEncoder(CONFIG).eval()
    randomize(ours)
    layer = nn.TransformerEncoderLayer(16, 8, 16, dropout=0.1, batch_first=True)
    theirs = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    theirs.load_state_dict(ours.state_dict())  # the same names
    torch.testing.assert_close(ours(tokens), theirs.eval()(tokens), rtol=1e-4, atol=1e-5)


def test_no_blocks_leave_norm_and_map(tokens: Tensor, text: Tensor) -> None:
    ours = CrossModalEncoder(CONFIG.replace(blocks=0))
    torch.testing.assert_close(
        ours(tokens, text), functional.layer_norm(tokens, (16,)) @ ours.projection
    )
    assert torch.equal(PostEncoder(CONFIG.replace(post_blocks=0))(tokens), tokens)

"""The adapter as a whole: golden values, prompts, heads, files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from adapter import AdapterConfig, LossConfig, RankingAdapter
from adapter.errors import CheckpointError, CheckpointNotFoundError, ConfigError
from adapter.network.losses import loss_terms
from adapter.network.model import read_settings

if TYPE_CHECKING:
    from adapter.network.config import PairHeadKind

PAIR_HEADS: tuple[PairHeadKind, ...] = ("relational", "product", "concat", "self", "subtract")
WIDTHS: dict[str, int] = {"image_dim": 16, "text_dim": 16, "width": 16}


def small(preset: str = "released", **changes: Any) -> AdapterConfig:
    build = AdapterConfig.released if preset == "released" else AdapterConfig.paper
    return build(**(WIDTHS | {"relation_tokens": 3, "prompt_tokens": 4} | changes))


def batch(
    images: int = 5, patches: int = 6, tokens: int = 7, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    image = torch.randn(images, patches, 16, generator=generator, dtype=dtype)
    return image, torch.randn(tokens, 16, generator=generator, dtype=dtype)


@pytest.mark.shared
def test_golden_values_of_the_released_adapter() -> None:
    folder = os.environ.get("FEATCACHE_SHARED")
    if not folder:
        pytest.skip("FEATCACHE_SHARED is not set")
    golden = np.load(Path(folder) / "golden" / "rank_adapter_v2_a.npz")
    state = {k[6:]: torch.from_numpy(golden[k]) for k in golden.files if k.startswith("state/")}
    config = AdapterConfig.released(image_dim=64, text_dim=64, width=64, prompt_form="scalar")
    adapter = RankingAdapter(config).eval()
    adapter.load_weights(state, "golden")

    image, text, targets = (
        torch.from_numpy(golden[k]) for k in ("image_tokens", "text_tokens", "targets")
    )
    scores, pair_logits = adapter.outputs(image, text)
    assert scores is not None
    assert pair_logits is not None
    np.testing.assert_allclose(scores.detach(), golden["scores"], rtol=1e-5)
    np.testing.assert_allclose(pair_logits.detach(), golden["pair_logits"], rtol=1e-5)

    losses = LossConfig.released()
    terms = loss_terms(losses, targets, scores=scores, pair_logits=pair_logits)
    total = terms.losses(losses).total
    assert float(total.detach()) == pytest.approx(float(golden["loss"]), rel=1e-5)

    total.backward()  # type: ignore[no-untyped-call]
    for name, parameter in adapter.named_parameters():
        norm, expected = float(_gradient(parameter).norm()), float(golden[f"grad_norm/{name}"])
        if name == "learnable_text_tokens":  # zero but for rounding, in the released form
            assert max(norm, expected) < 1e-6
        else:
            assert norm == pytest.approx(expected, rel=1e-4), name


def test_released_form_has_the_published_number_of_parameters() -> None:
    adapter = RankingAdapter(AdapterConfig.released(prompt_form="scalar"))
    assert sum(p.numel() for p in adapter.parameters()) == 40_791_586
    assert len(adapter.state_dict()) == 119


@pytest.mark.parametrize("preset", ["released", "paper"])
@pytest.mark.parametrize("pair_head", [*PAIR_HEADS, "none"])
def test_every_parameter_of_every_variant_gets_a_gradient(preset: str, pair_head: str) -> None:
    adapter = RankingAdapter(small(preset, pair_head=pair_head, image_dim=16)).eval()
    scores, pair_logits = adapter.outputs(*batch())
    assert scores is not None
    total = scores.square().sum()
    if pair_logits is None:
        assert pair_head == "none"
    else:
        assert pair_logits.shape == (5, 5)
        total = total + pair_logits.square().sum()
    total.backward()  # type: ignore[no-untyped-call]
    for name, parameter in adapter.named_parameters():
        assert float(_gradient(parameter).abs().sum()) > 0, name


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("form", ["vector", "scalar"])
def test_a_prompt_given_once_equals_one_given_per_image(position: str, form: str) -> None:
    config = small(prompt_position=position, prompt_form=form, text_dim=16, project_inputs=True)
    adapter = RankingAdapter(config).eval()
    image, text = batch()
    once = adapter.outputs(image, text)
    each = adapter.outputs(image, text.expand(5, -1, -1))
    for a, b in zip(once, each, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"blocks": 0}, {"prompt_form": "scalar"}])
@pytest.mark.parametrize("pair_head", [*PAIR_HEADS, "none"])
def test_every_prompt_at_once_equals_one_after_the_other(
    pair_head: str, changes: dict[str, Any]
) -> None:
    adapter = RankingAdapter(small(pair_head=pair_head, **changes)).eval()
    image, _ = batch()
    texts = torch.randn(5, 7, 16, generator=torch.Generator().manual_seed(1))  # as many as images
    scores, summary = adapter.encode_every(image, texts)
    expected = [adapter.encode(image, text) for text in texts]
    each = torch.stack([s for s, _ in expected if s is not None])
    torch.testing.assert_close(scores, each, rtol=1e-5, atol=1e-5)
    assert (summary is None) == (pair_head == "none")
    if summary is not None:
        logits = torch.stack([adapter.compare_summaries(s, s) for _, s in expected if s])
        found = adapter.compare_summaries(summary, summary)
        torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)
        others = summary.apply(torch.clone)  # as on several processes
        found = adapter.compare_summaries(summary, others)
        torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)


def test_layers_before_the_first_prompt_run_once_per_image() -> None:
    adapter = RankingAdapter(small())
    seen: list[int] = []
    for block in adapter.crossmodal_block.resblocks:
        block.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    image, text = batch()
    adapter.encode_every(image, text.expand(3, -1, -1))
    assert seen == [5, 15]


def test_prompt_keys_are_projected_once_per_prompt() -> None:
    adapter = RankingAdapter(small()).eval()
    seen: list[torch.Size] = []
    for block in adapter.crossmodal_block.cross_attn:
        block.ln_1_kv.register_forward_hook(  # type: ignore[union-attr]
            lambda _module, _args, out: seen.append(out.shape)
        )
    adapter(*batch())
    assert seen == [torch.Size([1, 4 + 7, 16])] * 2


def test_scalar_prompts_are_sinks_that_learn_nothing_and_vectors_learn() -> None:
    norms = {}
    for form in ("scalar", "vector"):
        adapter = RankingAdapter(small(prompt_form=form)).double().eval()
        adapter(*batch(dtype=torch.float64)).sum().backward()
        norms[form] = float(_gradient(adapter.learnable_text_tokens).norm())
    assert norms["scalar"] < 1e-9 < norms["vector"]


def test_a_prompt_per_image_reaches_only_its_image() -> None:
    adapter = RankingAdapter(small()).eval()
    image, text = batch()
    texts = torch.stack([text, *torch.randn(4, 7, 16).unbind()])
    scores = adapter(image, texts)
    torch.testing.assert_close(scores[0], adapter(image[:1], text)[0], rtol=1e-5, atol=1e-6)
    assert (scores[1:] - adapter(image, text)[1:]).abs().min() > 1e-4


def test_input_maps_appear_where_widths_differ() -> None:
    config = small(image_dim=24, text_dim=20)
    adapter = RankingAdapter(config).eval()
    assert adapter(torch.randn(2, 3, 24), torch.randn(4, 20)).shape == (2,)
    assert {n for n in adapter.state_dict() if "_proj.weight" in n and "." not in n[:-7]} == {
        "image_proj.weight",
        "text_proj.weight",
    }
    assert "image_proj.weight" not in RankingAdapter(small()).state_dict()
    assert "image_proj.weight" in RankingAdapter(small(project_inputs=True)).state_dict()


def test_a_head_that_is_off_has_no_parameters_and_says_so() -> None:
    scoreless = RankingAdapter(small(score_head=False))
    assert not [n for n in scoreless.state_dict() if n.startswith("reg_ln")]
    assert scoreless.outputs(*batch()).scores is None
    with pytest.raises(ConfigError, match="no regression head"):
        scoreless(*batch())
    rankless = RankingAdapter(small(pair_head="none"))
    assert not [n for n in rankless.state_dict() if "pair" in n or "pooler" in n or "reg_to" in n]
    with pytest.raises(ConfigError, match="no ranking head"):
        rankless.compare(*batch())


def test_seed_determines_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again = RankingAdapter(small(), seed=1), RankingAdapter(small(), seed=1)
    other = RankingAdapter(small(), seed=2)
    assert torch.equal(before, torch.get_rng_state())
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert not torch.equal(first.reg_tokens, other.reg_tokens)
    assert not torch.equal(
        first.crossmodal_block.projection, torch.zeros_like(first.crossmodal_block.projection)
    )


def test_dropout_acts_in_training_only() -> None:
    adapter = RankingAdapter(small(dropout=0.5))
    image, text = batch()
    assert not torch.equal(adapter(image, text), adapter(image, text))
    adapter.eval()
    assert torch.equal(adapter(image, text), adapter(image, text))


@pytest.mark.parametrize(
    ("image", "text"),
    [((5, 6, 15), (7, 16)), ((6, 16), (7, 16)), ((5, 6, 16), (7, 15)), ((5, 6, 16), (4, 7, 16))],
)
def test_inputs_that_do_not_fit_are_refused(image: Any, text: Any) -> None:
    with pytest.raises(ConfigError, match="tokens must be"):
        RankingAdapter(small())(torch.zeros(image), torch.zeros(text))


def test_half_precision_autocast_stays_close() -> None:
    adapter = RankingAdapter(small()).eval()
    exact = adapter.outputs(*batch())
    with torch.autocast("cpu", torch.bfloat16):
        rough = adapter.outputs(*batch())
    for a, b in zip(exact, rough, strict=True):
        assert a is not None
        assert b is not None
        assert torch.isfinite(b).all()
        assert (a - b.float()).abs().max() < 0.1 * (1 + a.abs().max())


@pytest.mark.parametrize("preset", ["released", "paper"])
def test_gradients_by_finite_differences(preset: str) -> None:
    config = small(
        preset, image_dim=4, text_dim=4, width=4, heads=2, relation_heads=1, pair_layers=1
    )
    adapter = RankingAdapter(config, seed=3).double().eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    text = torch.randn(2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([1.0, 3.0, 1.0], dtype=torch.float64)
    losses = LossConfig.released() if preset == "released" else LossConfig.paper()
    names = ["reg_tokens", "learnable_text_tokens", "crossmodal_block.projection"]
    chosen = [adapter.get_parameter(name) for name in names]

    def total(*_: torch.Tensor) -> torch.Tensor:
        scores, logits = adapter.outputs(image, text)
        return loss_terms(losses, targets, scores=scores, pair_logits=logits).losses(losses).total

    assert torch.autograd.gradcheck(total, (image, text, *chosen))


def test_save_and_load(tmp_path: Path) -> None:
    adapter = RankingAdapter(small("paper"), seed=4).eval()
    adapter.save(tmp_path / "run", extra={"features": "abc"})
    again = RankingAdapter.load(tmp_path / "run")
    assert again.config == adapter.config
    assert not again.training
    assert torch.equal(adapter(*batch()), again(*batch()))
    assert read_settings(tmp_path / "run") == (adapter.config, {"features": "abc"})
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "adapter.json",
        "adapter.safetensors",
    ]


def test_load_names_the_fault(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"adapter\.json: not there"):
        RankingAdapter.load(tmp_path)
    RankingAdapter(small()).save(tmp_path)
    settings = tmp_path / "adapter.json"
    content = json.loads(settings.read_text())

    content["config"]["relation_tokens"] = 9
    settings.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"reg_tokens: shape \[3, 16\], expected \[9, 16\]"):
        RankingAdapter.load(tmp_path)

    content["config"]["pair_head"] = "none"
    settings.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="unexpected: pair_regressor"):
        RankingAdapter.load(tmp_path)

    content["config"]["pair_head"] = "guess"
    settings.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="pair_head must be one of"):
        RankingAdapter.load(tmp_path)

    for broken in ('{"format": 7}', "[]", "{", '{"format": 1}'):
        settings.write_text(broken)
        with pytest.raises(CheckpointError, match=r"adapter\.json"):
            RankingAdapter.load(tmp_path)


def test_a_damaged_or_missing_weights_file_is_refused(tmp_path: Path) -> None:
    RankingAdapter(small()).save(tmp_path)
    weights = tmp_path / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        RankingAdapter.load(tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointNotFoundError, match=r"adapter\.safetensors: not there"):
        RankingAdapter.load(tmp_path)


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad

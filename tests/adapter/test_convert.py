"""Released checkpoints, in their naming, at a small width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from adapter import AdapterConfig, RankingAdapter
from adapter.convert import convert_checkpoint, require_features
from adapter.errors import CheckpointError, CheckpointNotFoundError, ConfigError
from adapter.network.model import read_settings
from adapter.record import write_record
from adapter.run import Run
from featcache.backbone.digest import weights_digest
from featcache.errors import FingerprintMismatchError

WIDTH = 16


def released_adapter(**changes: Any) -> RankingAdapter:
    sizes: dict[str, Any] = {"image_dim": WIDTH, "text_dim": WIDTH, "width": WIDTH}
    sizes |= {"prompt_form": "scalar", "relation_tokens": 5, "prompt_tokens": 6}
    return RankingAdapter(AdapterConfig.released(**(sizes | changes)), seed=3).eval()


def whole_model(adapter: RankingAdapter) -> dict[str, torch.Tensor]:
    """A released checkpoint's names, at a small width."""
    torch.manual_seed(0)
    state = {f"adapter.{name}": tensor for name, tensor in adapter.state_dict().items()}
    state["visual.trunk.stem.0.weight"] = torch.randn(8, 3, 4, 4)
    state["visual.trunk.head.norm.weight"] = torch.ones(24)
    state["visual.trunk.head.fc.weight"] = torch.randn(WIDTH, 24, 1, 1)
    state["visual.trunk.head.fc.bias"] = torch.randn(WIDTH)
    state["token_embedding.weight"] = torch.randn(50, WIDTH)
    state["positional_embedding"] = torch.randn(7, WIDTH)
    state["ln_final.weight"] = torch.randn(WIDTH)
    state["ln_final.bias"] = torch.randn(WIDTH)
    state["text_projection"] = torch.randn(WIDTH, WIDTH)
    state["logit_scale"] = torch.tensor(2.0)
    state["transformer.resblocks.0.ln_1.weight"] = torch.randn(WIDTH)
    return state


def write(path: Path, state: dict[str, torch.Tensor], form: str) -> Path:
    if form == "module":
        state = {f"module.{name}": tensor for name, tensor in state.items()}
    content = state if form == "bare" else {"epoch": 3, "state_dict": state}
    torch.save(content, path)
    return path


@pytest.mark.parametrize("form", ["module", "nested", "bare"])
def test_conversion_keeps_the_adapter_projection_and_text_tower(tmp_path: Path, form: str) -> None:
    adapter = released_adapter()
    state = whole_model(adapter)
    found = convert_checkpoint(write(tmp_path / "a.pt", state, form), tmp_path / "out")
    assert found.config == adapter.config

    again = RankingAdapter.load(tmp_path / "out")
    image, text = torch.randn(3, 4, WIDTH), torch.randn(5, WIDTH)
    assert torch.equal(again(image, text), adapter(image, text))
    assert torch.equal(again.compare(image, text), adapter.compare(image, text))

    projection = load_file(tmp_path / "out" / "token_projection.safetensors")
    assert sorted(projection) == ["visual.trunk.head.fc.bias", "visual.trunk.head.fc.weight"]
    tower = load_file(tmp_path / "out" / "text_tower.safetensors")
    assert sorted(tower) == sorted(n for n in state if not n.startswith(("adapter.", "visual.")))
    for name, tensor in (projection | tower).items():
        assert torch.equal(tensor, state[name])
    assert read_settings(tmp_path / "out")[1] == {"converted_from": "a.pt"}
    run = Run.load(tmp_path / "out")
    assert run.fingerprint is None
    assert run.record["requires"] == found.requirements
    assert run.scales.find("any").restore(3.0) == 3.0


def test_the_required_projection_is_the_one_a_cache_reports(tmp_path: Path) -> None:
    state = whole_model(released_adapter())
    found = convert_checkpoint(write(tmp_path / "a.pt", state, "nested"), tmp_path / "out")
    # featcache turns the convolution into a linear map and hashes that.
    linear = nn.Linear(24, WIDTH)
    linear.load_state_dict(
        {
            "weight": state["visual.trunk.head.fc.weight"][:, :, 0, 0],
            "bias": state["visual.trunk.head.fc.bias"],
        }
    )
    assert found.requirements["projection"]["weights"] == weights_digest(linear.state_dict())
    assert found.settings["--projection"] == (
        f"checkpoint:{tmp_path / 'out' / 'token_projection.safetensors'}"
    )


def test_a_cache_made_otherwise_is_refused(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "a.pt", whole_model(released_adapter()), "nested")
    needed = convert_checkpoint(checkpoint, tmp_path / "out").requirements
    made_for_it = needed | {"architecture": "convnext_large_d_320", "weights": "w"}
    require_features(needed, made_for_it)
    for changed in (
        {"projection": {"kind": "clip"}},
        {"projection": needed["projection"] | {"weights": "other"}},
        {"text_weights": "other"},
        {"token_pool": 2},
    ):
        with pytest.raises(FingerprintMismatchError, match=f"{next(iter(changed))}.*needs"):
            require_features(needed, made_for_it | changed)
    untold = {name: value for name, value in made_for_it.items() if name != "text_weights"}
    with pytest.raises(FingerprintMismatchError, match=r"text_weights: needs .* has None"):
        require_features(needed, untold)


def test_shapes_tell_the_architecture(tmp_path: Path) -> None:
    for changes in (
        {"blocks": 1, "post_blocks": 3},
        {"prompt_tokens": 0},
        {"pair_head": "subtract", "relation_tokens": 16},
        {"mlp_ratio": 2.0},
    ):
        adapter = released_adapter(**changes)
        checkpoint = write(tmp_path / "a.pt", whole_model(adapter), "module")
        assert convert_checkpoint(checkpoint, tmp_path / "out").config == adapter.config


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    adapter = released_adapter()
    state = {name: tensor.half() for name, tensor in whole_model(adapter).items()}
    convert_checkpoint(write(tmp_path / "a.pt", state, "nested"), tmp_path / "out")
    weight = RankingAdapter.load(tmp_path / "out").reg_tokens
    assert weight.dtype == torch.float32
    assert torch.equal(weight, adapter.reg_tokens.half().float())


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("adapter.", "no name begins with 'adapter.'"),
        (
            "adapter.crossmodal_block.projection",
            r"adapter\.crossmodal_block\.projection is missing",
        ),
        ("adapter.reg_ln.bias", r"missing: reg_ln\.bias \[16\]"),
        ("visual.trunk.head.fc.bias", "token projection of ConvNeXt"),
        ("ln_final", r"lacks ln_final\.weight, ln_final\.bias"),
        ("transformer.", r"lacks transformer\.\*"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, without: str, message: str) -> None:
    whole = whole_model(released_adapter())
    state = {name: tensor for name, tensor in whole.items() if not name.startswith(without)}
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(write(tmp_path / "a.pt", state, "nested"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_trained_run_is_not_overwritten(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "a.pt", whole_model(released_adapter()), "nested")
    (tmp_path / "run").mkdir()
    write_record(tmp_path / "run", {"shards": []})
    with pytest.raises(ConfigError, match="holds a trained run"):
        convert_checkpoint(checkpoint, tmp_path / "run")
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["run.json"]
    convert_checkpoint(checkpoint, tmp_path / "out")
    convert_checkpoint(checkpoint, tmp_path / "out")  # an earlier conversion is replaced


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="no such file"):
        convert_checkpoint(tmp_path / "none.pt", tmp_path / "out")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match="cannot be read as weights alone"):
        convert_checkpoint(tmp_path / "text.pt", tmp_path / "out")
    torch.save({"model": Path("x")}, tmp_path / "object.pt")
    with pytest.raises(CheckpointError, match="cannot be read as weights alone"):
        convert_checkpoint(tmp_path / "object.pt", tmp_path / "out")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        convert_checkpoint(tmp_path / "list.pt", tmp_path / "out")

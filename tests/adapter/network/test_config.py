"""Configurations: presets, checks, round trips, and imports without torch."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from adapter.errors import ConfigError
from adapter.network.config import AdapterConfig


@pytest.mark.parametrize("preset", [AdapterConfig.released, AdapterConfig.paper])
def test_configurations_survive_json(preset: Any) -> None:
    config = preset(image_dim=32)
    assert AdapterConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.image_dim == 32


def test_presets_differ_where_paper_and_code_do() -> None:
    released, paper = AdapterConfig.released(), AdapterConfig.paper()
    differing = {
        f.name
        for f in dataclasses.fields(AdapterConfig)
        if getattr(released, f.name) != getattr(paper, f.name)
    }
    assert differing == {
        "width",
        "prompt_position",
        "post_blocks",
        "relation_heads",
        "relation_projections",
        "relation_pool",
        "score_pool",
    }
    assert (released.width, paper.width) == (768, 512)
    assert released == AdapterConfig()


def test_changes_are_checked_again() -> None:
    config = AdapterConfig.paper(relation_tokens=4).replace(pair_head="concat")
    assert (config.relation_tokens, config.pair_head) == (4, "concat")
    with pytest.raises(ConfigError, match="relation_tokens"):
        config.replace(relation_tokens=0)
    with pytest.raises(ConfigError, match="unknown relation_token; the fields are"):
        config.replace(relation_token=4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 0),
        ("width", 12.0),
        ("width", True),
        ("heads", 5),
        ("relation_heads", 7),
        ("prompt_tokens", -1),
        ("prompt_form", "matrix"),
        ("prompt_position", "middle"),
        ("pair_head", "guess"),
        ("relation_pool", "max"),
        ("score_pool", ""),
        ("dropout", 1.0),
        ("dropout", float("nan")),
        ("dropout", "much"),
        ("mlp_ratio", "4"),
        ("mlp_ratio", True),
        ("mlp_ratio", 0.0),
        ("mlp_ratio", float("nan")),
        ("score_head", 1),
    ],
)
def test_impossible_values_are_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        AdapterConfig.released(**{field: value})


def test_something_must_be_left_to_train() -> None:
    with pytest.raises(ConfigError, match="nothing to train"):
        AdapterConfig.released(pair_head="none", score_head=False)


def test_from_dict_names_what_is_missing_or_unknown() -> None:
    values = AdapterConfig.released().to_dict()
    with pytest.raises(ConfigError, match="missing heads"):
        AdapterConfig.from_dict({k: v for k, v in values.items() if k != "heads"})
    with pytest.raises(ConfigError, match="unknown head;"):
        AdapterConfig.from_dict(values | {"head": 8})


def test_inputs_are_mapped_where_widths_differ_or_on_request() -> None:
    same = AdapterConfig.released()
    assert not same.maps_image
    assert not same.maps_text
    assert same.replace(project_inputs=True).maps_image
    wider = same.replace(image_dim=1536)
    assert wider.maps_image
    assert not wider.maps_text


def test_package_and_configuration_do_not_import_torch() -> None:
    code = (
        "import sys, adapter, adapter.network.config; adapter.AdapterConfig.paper(); "
        "adapter.LossConfig.paper(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

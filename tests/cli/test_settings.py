"""`--set section.field=value`."""

from __future__ import annotations

import pytest

from adapter.errors import ConfigError
from adapter.settings import OptimConfig, SamplingConfig
from cli.settings import build, parse, texts_of


@pytest.mark.parametrize("text", ['sampling.views=["hflip"]', "sampling.views=hflip"])
def test_one_name_needs_no_brackets(text: str) -> None:
    """A bare word was taken apart into its letters once."""
    sections = parse([text])
    assert build(SamplingConfig, "sampling", sections["sampling"]).views == ("hflip",)


def test_values_are_json_where_they_are_json() -> None:
    sections = parse(["optim.clip_norm=null", "optim.schedule=constant", "optim.betas=[0.8,0.9]"])
    config = build(OptimConfig, "optim", sections["optim"])
    assert (config.clip_norm, config.schedule, config.betas) == (None, "constant", (0.8, 0.9))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr=1", "expected SECTION.FIELD=VALUE"),
        ("optimizer.lr=1", "expected SECTION.FIELD=VALUE"),
        ("optim.rate=1", "no such setting; there are"),
        ("optim.lr=fast", "lr must be a finite number, not 'fast'"),
    ],
)
def test_the_fault_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build(OptimConfig, "optim", parse([text])["optim"])
    assert " _" not in str(caught.value)  # what a class keeps about itself is no setting


def test_texts_have_no_blanks_around_them() -> None:
    assert texts_of([" by age. "], "--query") == ["by age."]
    assert texts_of(None, "--query") == []
    with pytest.raises(ConfigError, match="--query: expected a text"):
        texts_of(["by age.", "  "], "--query")

"""docs/training.md names every setting, with its default where it has a plain one."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from adapter.network.config import AdapterConfig
from adapter.network.losses import LossConfig
from adapter.settings import OptimConfig, SamplingConfig, TrainConfig
from cli.settings import build, parse

PAGE = (Path(__file__).parents[3] / "docs" / "training.md").read_text("utf-8")
SECTIONS = {
    "model": AdapterConfig,
    "loss": LossConfig,
    "train": TrainConfig,
    "sampling": SamplingConfig,
    "optim": OptimConfig,
}
# Defaults that the page says in words.
WORDS = {"from the cache", "all", "none", "equal", ""}


def rows(section: str) -> dict[str, str]:
    """Field name to the text of its default, from the section's table."""
    text = re.split(r"^##", PAGE.split(f"\n### `{section}`\n")[1], maxsplit=1, flags=re.MULTILINE)[
        0
    ]
    cells = re.findall(r"^\| (`[^|]*`) \|([^|]*)\|", text, flags=re.MULTILINE)
    return {
        name: default.strip() for names, default in cells for name in re.findall(r"`(\w+)`", names)
    }


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_documented_and_no_other(section: str) -> None:
    fields = dataclasses.fields(SECTIONS[section])
    assert list(rows(section)) == [field.name for field in fields]


@pytest.mark.parametrize("section", SECTIONS)
def test_documented_defaults_are_the_defaults(section: str) -> None:
    shown = rows(section)
    for field in dataclasses.fields(SECTIONS[section]):
        text = shown[field.name].partition(" (")[0]  # what the paper's preset has comes after
        if text in WORDS:
            assert field.default in (None, (), 768, dataclasses.MISSING), field.name
            continue
        if isinstance(field.default, tuple):
            found: Any = tuple(part.strip("` ") for part in text.split(","))
            assert found == tuple(map(str, field.default)), field.name
        elif isinstance(field.default, str):
            assert text == f"`{field.default}`", field.name
        elif isinstance(field.default, bool):
            assert text == str(field.default).lower(), field.name
        else:
            assert float(text) == field.default, field.name


def test_the_paper_s_values_are_those_of_its_preset() -> None:
    presets: dict[str, Any] = {
        "model": (AdapterConfig.released(), AdapterConfig.paper()),
        "loss": (LossConfig.released(), LossConfig.paper()),
    }
    for section, (released, paper) in presets.items():
        said = {
            name: found.group(1).strip("`")
            for name, text in rows(section).items()
            if (found := re.search(r"\(`paper`: ([^)]*)\)", text))
        }
        differ = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in paper.to_dict().items()
            if value != released.to_dict()[name]
        }
        assert said == differ


def test_the_settings_of_its_commands_exist() -> None:
    given = re.findall(r"--set (?:'([^']+)'|([\w.]+=\S+))", PAGE)
    assignments = [a or b.rstrip("`.,") for a, b in given if b != "SECTION.FIELD=VALUE`,"]
    assert len(assignments) >= 10
    presets = {"train": {"stack_parts": 3}}  # `best`, which some of them change
    for assignment in assignments:
        for section, values in parse([assignment]).items():
            build(SECTIONS[section], section, presets.get(section, {}) | values)

"""The preset of `adapter train`: the one that was asked for, or else the one that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from adapter.errors import ConfigError
from adapter.settings import Preset

if TYPE_CHECKING:
    from collections.abc import Mapping


class Choice(NamedTuple):
    """A preset, and a line for people who asked for none; empty where there is nothing to say."""

    preset: Preset
    note: str = ""


def choose_preset(
    asked: str | None, sections: Mapping[str, Mapping[str, Any]], *, compared: bool
) -> Choice:
    """Return the preset that was asked for; without one ``best``, or ``released`` where it must be.

    Args:
        asked: By an option or a file; None where neither names a preset.
        sections: The settings that were given, by section.
        compared: Whether the run learns from comparisons.

    Raises:
        ConfigError: There is no such preset.
    """
    for preset in get_args(Preset):
        if preset == asked:
            return Choice(preset)
    if asked is not None:
        raise ConfigError(f"--preset must be one of {', '.join(get_args(Preset))}, not {asked!r}")
    if sections["train"].get("stack_parts") == 0:
        return Choice("released")
    if reason := _no_stack(sections, compared=compared):
        note = f"preset released: {reason}, so the preset best has no regression to add"
        return Choice("released", note)
    note = "preset best: adapter and regression; --preset released trains an adapter alone, faster"
    return Choice("best", note)


def _no_stack(sections: Mapping[str, Mapping[str, Any]], *, compared: bool) -> str:
    """Say why scores of a regression cannot be added to those of the adapter; empty if they can."""
    from adapter.network.losses import LossConfig

    if compared:
        return "comparisons are not labels"
    if sections["sampling"].get("relevance"):
        return "sampling.relevance predicts distances to a count"
    if sections["model"].get("score_head") is False:
        return "model.score_head is off"
    if not LossConfig.released(**sections["loss"]).needs_scores:
        return "loss.regression is off"
    return ""

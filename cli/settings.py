"""`--set section.field=value`: any field of a configuration; and texts as the labels have them."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from adapter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

SECTIONS = ("model", "loss", "train", "sampling", "optim")


def parse(assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse assignments into sections.

    A value is read as JSON where it is JSON, else as text: ``optim.clip_norm=null``,
    ``sampling.views=["original"]``, ``loss.ranking=hinge``.

    Raises:
        ConfigError: An assignment is not of this form, or names no section.
    """
    sections: dict[str, dict[str, Any]] = defaultdict(dict)
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        section, dot, field = name.partition(".")
        if not separator or not dot or section not in SECTIONS:
            raise ConfigError(
                f"--set {assignment}: expected SECTION.FIELD=VALUE, with one of the sections "
                f"{', '.join(SECTIONS)}"
            )
        sections[section][field.replace("-", "_")] = value_of(text)
    return sections


def build(cls: Any, section: str, values: dict[str, Any], **defaults: Any) -> Any:
    """Build a configuration from defaults and the values of a section.

    Raises:
        ConfigError: A field is unknown, or a value is of a wrong type or impossible.
    """
    known = {field.name: field for field in fields(cls)}
    if unknown := sorted(values.keys() - known.keys()):
        raise ConfigError(
            f"{section}.{unknown[0]}: no such setting; there are {', '.join(sorted(known))}"
        )
    for name, value in values.items():  # one name needs no brackets
        if isinstance(value, str) and str(known[name].type).startswith("tuple"):
            values = {**values, name: (value,)}
    return cls(**{**defaults, **values})


def value_of(text: str) -> Any:
    """Read a value as JSON where it is JSON, else as text; lists become tuples."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return tuple(value) if isinstance(value, list) else value


def texts_of(given: Sequence[str] | None, flag: str) -> list[str]:
    """Return texts such as prompts without the blanks around them, as labels have them.

    Raises:
        ConfigError: One has nothing else.
    """
    texts = [text.strip() for text in given or ()]
    if not all(texts):
        raise ConfigError(f"{flag}: expected a text, found only blanks")
    return texts

"""Configurations that are read from JSON: every field named, no other, and checked again."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args

from adapter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


def is_number(value: object) -> bool:
    """Tell whether a value from JSON is a finite number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """Base of a configuration whose fields are JSON values, checked in ``__post_init__``."""

    _title: ClassVar[str]  # what errors call it

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked again."""
        return self._build(**(self.to_dict() | changes))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a configuration; every field has to be there.

        Raises:
            ConfigError: A field is missing, unknown, or has an impossible value.
        """
        if missing := sorted(cls._names() - values.keys()):
            raise ConfigError(f"{cls._title}: missing {', '.join(missing)}")
        return cls._build(**values)

    def _require_choices(self, **choices: Any) -> None:
        """Refuse a value that its field's ``Literal`` does not list."""
        for name, literal in choices.items():
            value, allowed = getattr(self, name), get_args(literal)
            if value not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")

    @classmethod
    def _build(cls, **values: Any) -> Self:
        names = cls._names()
        if unknown := sorted(values.keys() - names):
            raise ConfigError(
                f"{cls._title}: unknown {', '.join(unknown)}; "
                f"the fields are {', '.join(sorted(names))}"
            )
        return cls(**values)

    @classmethod
    def _names(cls) -> set[str]:
        return {f.name for f in dataclasses.fields(cls)}

"""Settings that came after version 1 of the cache format.

What determines features is hashed as JSON (``storage/fingerprint.py``), so a new field would give
every cache another digest. A field that is declared with `newer` stays out of the JSON while it
has its default: caches that do not use it keep their digests, and a reader that does not find it
takes the default.

    @dataclass(frozen=True, kw_only=True)
    class Preprocessing:
        size: int  # since version 1: always written
        color: str = newer("as-is")  # written only where it is something else
"""

from __future__ import annotations

from dataclasses import asdict, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

_NEWER = "newer"  # marks such a field in its metadata


def newer(default: T) -> T:
    """Declare a field of a dataclass that version 1 did not have.

    Args:
        default: What version 1 did, as a value of the field.
    """
    declared: T = field(default=default, metadata={_NEWER: True})
    return declared


def to_json(settings: DataclassInstance) -> dict[str, Any]:
    """Return a dataclass as JSON values, without newer fields that have their default."""
    left_out = {
        each.name
        for each in fields(settings)
        if each.metadata.get(_NEWER) and getattr(settings, each.name) == each.default
    }
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(settings).items()
        if name not in left_out
    }

"""Configurations as values: to JSON and back, checked each time."""

from __future__ import annotations

import dataclasses
import json
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import ConfigError
from adapter.fields import Configuration, is_number

Color = Literal["red", "blue"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paint(Configuration):
    _title: ClassVar[str] = "paint"
    color: Color = "red"
    litres: float = 1.0

    def __post_init__(self) -> None:
        self._require_choices(color=Color)
        if not is_number(self.litres) or self.litres <= 0:
            raise ConfigError(f"litres must be positive, not {self.litres!r}")


@given(st.sampled_from(["red", "blue"]), st.floats(0.1, 1e6))
def test_survives_json(color: Color, litres: float) -> None:
    paint = Paint(color=color, litres=litres)
    assert Paint.from_dict(json.loads(json.dumps(paint.to_dict()))) == paint


def test_a_change_is_checked_and_leaves_the_original() -> None:
    paint = Paint()
    assert paint.replace(litres=2.0) == Paint(litres=2.0)
    assert paint == Paint()
    with pytest.raises(ConfigError, match="litres must be positive, not -1"):
        paint.replace(litres=-1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"color": "red"}, "paint: missing litres"),
        ({"color": "red", "litres": 1, "shade": 2}, "paint: unknown shade; the fields are"),
        ({"color": "green", "litres": 1}, "color must be one of red, blue, not 'green'"),
        ({"color": None, "litres": 1}, "color must be one of red, blue, not None"),
        ({"color": "red", "litres": "1"}, "litres must be positive, not '1'"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Paint.from_dict(values)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((n, True) for n in (0, -3, 2.5, 1e300)),
        *((n, False) for n in (True, False, "1", None, [1], float("nan"), float("inf"))),
    ],
)
def test_numbers(value: object, expected: bool) -> None:
    assert is_number(value) is expected

"""Configurations as values: to JSON and back, checked each time."""

from __future__ import annotations

import dataclasses
import json
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import AdapterError
from adapter.errors import ConfigError as AdapterConfigError
from adapter.network.config import AdapterConfig
from adapter.network.losses import LossConfig
from adapter.settings import OptimConfig, SamplingConfig, TrainConfig
from featcache.backbone.spec import BackboneSpec
from featcache.configuration import REQUIRED, Configuration, describe, is_number, newer
from featcache.errors import BackboneError, ConfigError
from featcache.extraction.plan import ExtractConfig
from featcache.images.preprocess import Preprocessing

ADAPTER_SETTINGS = [AdapterConfig, LossConfig, SamplingConfig, OptimConfig, TrainConfig]

Color = Literal["red", "blue"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paint(Configuration):
    _title: ClassVar[str] = "paint"
    color: Color = "red"
    litres: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.litres <= 0:
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
        ({"color": "red", "litres": "1"}, "litres must be a finite number, not '1'"),
    ],
)
def test_the_fault_is_named(values: dict[str, object], message: str) -> None:
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Room(Configuration):
    """A room.

    Attributes:
        name: Of the room.
        sizes: Sides, in
            meters: three of them.
        doors: How many; null where nobody
            counted.
        lit: Whether there is light.
        notes: Anything.
        paint: Of the walls.
    """

    name: str
    sizes: tuple[float, float, float] = (1.0, 2.0, 3.0)
    doors: int | None = None
    lit: bool = False
    notes: tuple[str, ...] = ()
    paint: Paint = dataclasses.field(default_factory=Paint)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "name must be text, not 1"),
        ({"sizes": (1, 2)}, r"sizes must be a list of 3 numbers, not \(1, 2\)"),
        ({"sizes": "123"}, "sizes must be a list of 3 numbers, not '123'"),
        ({"sizes": [1, 2, float("nan")]}, "sizes must be a list of 3 numbers"),
        ({"doors": 1.0}, "doors must be an integer or null, not 1.0"),
        ({"doors": True}, "doors must be an integer or null, not True"),
        ({"lit": 1}, "lit must be true or false, not 1"),
        ({"notes": "one"}, "notes must be a list of text, not 'one'"),
        ({"paint": {"color": "red"}}, "paint: missing litres"),
        ({"paint": "red"}, "paint must be a Paint, not 'red'"),
    ],
)
def test_a_value_must_be_what_its_annotation_says(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Room.build(**{"name": "hall", **change})


def test_nested_settings_and_lists_come_back_from_json() -> None:
    room = Room(name="hall", doors=2, notes=("a", "b"), paint=Paint(color="blue"))
    back = Room.from_dict(json.loads(json.dumps(room.to_dict())))
    assert back == room
    assert hash(back) == hash(room)
    assert room.replace(doors=None).paint == room.paint


def test_a_field_is_described_by_its_annotation_and_its_docstring() -> None:
    assert describe(Room) == [
        ("name", "text", REQUIRED, "Of the room."),
        ("sizes", "list of 3 numbers", [1.0, 2.0, 3.0], "Sides, in meters: three of them."),
        ("doors", "integer | null", None, "How many; null where nobody counted."),
        ("lit", "true | false", False, "Whether there is light."),
        ("notes", "list of text", [], "Anything."),
    ]


@pytest.mark.parametrize("cls", [*ADAPTER_SETTINGS, ExtractConfig, Preprocessing, BackboneSpec])
def test_every_setting_is_documented(cls: type[Configuration]) -> None:
    fields = describe(cls)
    assert fields
    assert [field.name for field in fields if not field.doc] == []


def test_errors_are_of_the_package_whose_settings_they_are() -> None:
    with pytest.raises(AdapterError, match="decay must be one of matrices, released, not 'all'"):
        OptimConfig.build(decay="all")
    with pytest.raises(BackboneError, match="token_pool must be an integer"):
        BackboneSpec.build(pretrained="seed:1", token_pool="2")
    assert issubclass(AdapterConfigError, ConfigError)
    assert not issubclass(ConfigError, AdapterError)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Before(Configuration):
    size: int
    mean: tuple[float, ...] = (0.5, 0.5)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Now(Before):
    color: str = newer("as stored")
    bounds: tuple[int, ...] = newer(())


def test_newer_fields_are_written_where_they_differ() -> None:
    assert Now(size=3).to_dict() == Before(size=3).to_dict() == {"size": 3, "mean": [0.5, 0.5]}
    assert Now(size=3, color="icc").to_dict() == {"size": 3, "mean": [0.5, 0.5], "color": "icc"}
    assert Now(size=3, bounds=(1, 2)).to_dict()["bounds"] == [1, 2]


def test_newer_fields_that_are_not_there_take_their_default() -> None:
    for settings in (Now(size=3), Now(size=3, color="icc")):
        assert Now.from_dict(settings.to_dict()) == settings
    with pytest.raises(ConfigError, match="missing mean"):
        Now.from_dict({"size": 3})

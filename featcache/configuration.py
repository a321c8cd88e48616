"""Settings as values: frozen, checked against their annotations, to JSON and back.

    @dataclass(frozen=True, kw_only=True)
    class Paint(Configuration):
        '''What a wall is painted with.

Attributes:
            color: Of the last coat.
        '''

        _title = "paint"
        color: Literal["red", "blue"] = "red"

    Paint(color="green")      # ConfigError: color must be one of red, blue, not 'green'
    describe(Paint)           # [FieldInfo(name='color', type='red | blue', default='red', ...)]

A field is a JSON value: text, a number, true or false, a tuple of them, another configuration, or
null where its annotation says so. What an annotation says is checked here; a class adds what only
it knows, such as ranges, in ``__post_init__``.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import types
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from featcache.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

_NEWER = "newer"  # marks such a field in its metadata


def is_number(value: object) -> bool:
    """Tell whether a value from JSON is a finite number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """Base of all settings; subclasses are frozen, keyword-only dataclasses."""

    _title: ClassVar[str] = "settings"  # what errors call it
    _error: ClassVar[type[Exception]] = ConfigError  # what is raised; one of a package's own

    def __post_init__(self) -> None:
        """Check every field against its annotation; JSON lists become tuples.

        Raises:
            ConfigError: A value is of another type, or is not one of the choices.
        """
        for name, hint in _hints(type(self)).items():
            value = getattr(self, name)
            try:
                fitted = _fit(value, hint)
            except _MisfitError as error:
                raise self._error(f"{name} must be {_words(hint)}, not {value!r}") from error
            if fitted is not value:  # frozen for everyone else
                object.__setattr__(self, name, fitted)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked again."""
        return self.build(**({n: getattr(self, n) for n in _hints(type(self))} | changes))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values, without `newer` ones that have their default."""
        return {
            field.name: plain(value)
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default or not _is_newer(field)
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a configuration; every field has to be there, but `newer` ones.

        Raises:
            ConfigError: A field is missing, unknown, or has an impossible value.
        """
        expected = {field.name for field in dataclasses.fields(cls) if not _is_newer(field)}
        if missing := sorted(expected - values.keys()):
            raise cls._error(f"{cls._title}: missing {', '.join(missing)}")
        return cls.build(**values)

    @classmethod
    def build(cls, **values: Any) -> Self:
        """Make a configuration of some fields; the others take their defaults.

        Raises:
            ConfigError: A field is unknown, or has an impossible value.
        """
        names = _hints(cls)
        if unknown := sorted(values.keys() - names.keys()):
            raise cls._error(
                f"{cls._title}: unknown {', '.join(unknown)}; "
                f"the fields are {', '.join(sorted(names))}"
            )
        return cls(**values)

    def _require_at_least(self, least: int, *names: str) -> None:
        """Refuse fields below a bound; None passes."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value < least:
                raise self._error(f"{name} must be at least {least}, not {value!r}")


def newer(default: T) -> T:
    """Declare a field that files of version 1 do not have.

    What determines features is hashed as JSON (``storage/fingerprint.py``), so a new field would
    give every cache another digest. Such a field stays out of the JSON while it has its default:
    caches that do not use it keep their digests, and a reader that does not find it takes the
    default.

    Args:
        default: What version 1 did, as a value of the field.
    """
    declared: T = dataclasses.field(default=default, metadata={_NEWER: True})
    return declared


def _is_newer(field: dataclasses.Field[Any]) -> bool:
    return bool(field.metadata.get(_NEWER))


class FieldInfo(NamedTuple):
    """What there is to say about one setting.

    Attributes:
        name: Of the field.
        type: In words of JSON: ``red | blue``, ``integer``, ``list of text``, ``number | null``.
        default: As a JSON value; `REQUIRED` where there is none.
        doc: The field's text in the class's docstring, on one line.
    """

    name: str
    type: str
    default: Any
    doc: str


class _MisfitError(Exception):
    """A value is not what its annotation says."""


REQUIRED: Any = dataclasses.MISSING


def describe(cls: type[Configuration]) -> list[FieldInfo]:
    """Return name, type, default and documentation of every field, in order.

    A field that is a configuration itself is left out: it is described by its own class.
    """
    docs = _attribute_docs(cls)
    return [
        FieldInfo(field.name, _type_text(hint), _default(field), docs.get(field.name, ""))
        for field in dataclasses.fields(cls)
        if not _is_configuration(hint := _hints(cls)[field.name])
    ]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return plain(field.default_factory())
    return plain(field.default)


def _attribute_docs(cls: type) -> dict[str, str]:
    """Read the ``Attributes:`` section of a Google style docstring."""
    text = inspect.getdoc(cls) or ""
    section = re.search(r"^Attributes:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    entries = re.split(r"^    (?=\w+: )", section[1] if section else "", flags=re.MULTILINE)
    pairs = (entry.split(":", 1) for entry in entries if entry.strip())
    return {name: " ".join(text.split()) for name, text in pairs}


def _hints(cls: type) -> dict[str, Any]:
    """Return the annotation of every field, resolved."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _is_configuration(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, Configuration)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of ``X | None``, or the annotation itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fit(value: Any, hint: Any) -> Any:
    """Return a value as its annotation wants it."""
    if len(kinds := _alternatives(hint)) > 1:
        if value is None and type(None) in kinds:
            return None
        (hint,) = set(kinds) - {type(None)}  # the annotations are X or X | None
    if get_origin(hint) is Literal:
        # JSON has no subclasses: True is not the choice 1.
        fits = any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    elif get_origin(hint) is tuple:
        return _fit_tuple(value, get_args(hint))
    elif _is_configuration(hint):
        return hint.from_dict(value) if isinstance(value, dict) else _instance(value, hint)
    elif hint is float:
        fits = is_number(value)
    elif hint is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        return _instance(value, hint)
    if not fits:
        raise _MisfitError
    return value


def _fit_tuple(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _MisfitError
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise _MisfitError
    return tuple(_fit(item, kind) for item, kind in zip(value, kinds, strict=True))


def _instance(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise _MisfitError
    return value


_WORDS = {int: "an integer", float: "a finite number", bool: "true or false", str: "text"}
_TYPES = {int: "integer", float: "number", bool: "true | false", str: "text", type(None): "null"}


def _words(hint: Any) -> str:
    """Say what a value must be."""
    kinds = [kind for kind in _alternatives(hint) if kind is not type(None)]
    null = " or null" if len(kinds) < len(_alternatives(hint)) else ""
    if get_origin(kinds[0]) is Literal:
        return f"one of {', '.join(map(str, get_args(kinds[0])))}{null}"
    if get_origin(kinds[0]) is tuple:
        return f"a {_type_text(kinds[0])}{null}"
    return _WORDS.get(kinds[0], f"a {kinds[0].__name__}") + null


def _type_text(hint: Any) -> str:
    """Name an annotation in words of JSON."""
    if len(kinds := _alternatives(hint)) > 1:
        return " | ".join(map(_type_text, kinds))
    if get_origin(hint) is Literal:
        return " | ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        item, *others = get_args(hint)
        count = "" if others[-1:] == [Ellipsis] else f"{1 + len(others)} "
        plural = {int: "integers", float: "numbers"}.get(item, _type_text(item))
        return f"list of {count}{plural}"
    return _TYPES.get(hint, getattr(hint, "__name__", str(hint)))


def plain(value: Any) -> Any:
    """Return a field as a JSON value."""
    if isinstance(value, Configuration):
        return value.to_dict()
    return [plain(item) for item in value] if isinstance(value, tuple) else value

from dataclasses import dataclass

from featcache.defaults import newer, to_json


@dataclass(frozen=True, kw_only=True)
class Before:
    size: int
    mean: tuple[float, ...] = (0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class Now(Before):
    color: str = newer("as stored")
    bounds: tuple[int, ...] = newer(())


def test_newer_fields_are_written_where_they_differ():
    assert to_json(Now(size=3)) == to_json(Before(size=3)) == {"size": 3, "mean": [0.5, 0.5]}
    assert to_json(Now(size=3, color="icc")) == {"size": 3, "mean": [0.5, 0.5], "color": "icc"}
    assert to_json(Now(size=3, bounds=(1, 2)))["bounds"] == [1, 2]


def test_what_is_not_there_is_the_default():
    for settings in (Now(size=3), Now(size=3, color="icc")):
        stored = to_json(settings)
        assert Now(**{**stored, "mean": tuple(stored["mean"])}) == settings

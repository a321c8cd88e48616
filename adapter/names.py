"""Names that people give, in options and settings: splits, views, folds, tasks, queries, methods.

One rule for all: spaces around a name do not count, and a name that nothing has is refused with
the names that there are.
"""

from __future__ import annotations

from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from adapter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SHOWN = 20  # names in a message


def clean_names(names: str | Iterable[str], *, commas: bool = False) -> tuple[str, ...]:
    """Strip names, drop empty ones and repeats; split them at commas where names have none."""
    given = [names] if isinstance(names, str) else list(names)
    parts = [part for name in given for part in (name.split(",") if commas else [name])]
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def choose_names(
    what: str,
    asked: str | Iterable[str],
    known: Iterable[str],
    *,
    patterns: bool = False,
    commas: bool = False,
) -> tuple[str, ...]:
    """Clean names that were asked for, and refuse those that there are not.

    Args:
        what: What the names are of, such as ``split``, for the message.
        asked: The names.
        known: The names that there are.
        patterns: Whether shell patterns are allowed, such as ``count-*``.
        commas: Whether a name may hold several, separated by commas.

    Raises:
        ConfigError: A name is not among the known, or a pattern matches none of them.
    """
    there = list(dict.fromkeys(known))
    cleaned = clean_names(asked, commas=commas)
    for name in cleaned:
        fits = name in there or (patterns and any(fnmatchcase(one, name) for one in there))
        if not fits:
            raise ConfigError(f"no {what} {name!r}; {listed(name, there)}")
    return cleaned


def listed(name: str, there: Sequence[str]) -> str:
    """Say which names there are, the one that is closest to ``name`` first."""
    close = get_close_matches(name, there, n=1)
    ordered = [*close, *(one for one in sorted(there) if one not in close)]
    if not ordered:
        return "there is none"
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return f"there are {', '.join(ordered[:SHOWN])}{more}"

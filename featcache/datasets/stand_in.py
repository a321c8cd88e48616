"""The marker of a drawn stand-in: a file that says what a folder of pictures is not.

A miniature has the names and tables of a data set, and pictures that were drawn. Whatever is made
of it must say so: caches take the mark over, and so do the pages and tables that are made of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from featcache.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

MARKER = "DRAWN-STAND-IN.json"
WORDS = "drawn stand-in"
NOTICE = "Drawn stand-ins, not the data sets: these numbers say nothing about photographs."


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """What the marker says.

    Attributes:
        dataset: Name of the data set whose place it takes.
        images: Images that its reader lists.
        options: Options of the reader that fit so few images; its defaults in this folder.
    """

    dataset: str
    images: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self, title: str) -> dict[str, Any]:
        """Return the marker's content as JSON values, with a sentence for people."""
        return {
            "what": f"{WORDS} for {title}: pictures drawn by featcache, not the data set; numbers "
            "made of it say nothing of any method",
            "dataset": self.dataset,
            "images": self.images,
            "options": dict(self.options),
        }


def read_marker(folder: Path) -> StandIn | None:
    """Read the marker of a folder; None where there is none.

    Raises:
        DatasetError: It is damaged.
    """
    file = folder / MARKER
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
        return StandIn(
            dataset=str(content["dataset"]),
            images=int(content["images"]),
            options=dict(content["options"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{file}: not the marker of a drawn stand-in ({error!r}); draw it again"
        ) from error


def is_marked(root: Path, folders: Iterable[str]) -> bool:
    """Whether a folder, one that it lies in, or one on the way to folders below it has a marker.

    Args:
        root: The folder, which may be a link.
        folders: POSIX paths below it, of folders or files.
    """
    inside = {parent for folder in folders for parent in _way(folder)}
    above = {one for place in (root.absolute(), root.resolve()) for one in (place, *place.parents)}
    return any((place / MARKER).is_file() for place in (*above, *(root / one for one in inside)))


def _way(folder: str) -> tuple[str, ...]:
    """Return a relative path and the folders on the way to it."""
    path = PurePosixPath(folder)
    return tuple(str(one) for one in (path, *path.parents))

"""Photos named by their place in a folder of their own: links, copies, or the photos themselves.

    0001_IMG_2211.jpg
    0002_IMG_0007.jpg

A plan comes first and can be shown; carrying it out writes each step into a log before it is done.
Nothing is overwritten. A raw file that is one photo with its JPEG goes with it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from adapter.errors import ConfigError
from featcache.datasets.paths import RawTwins, safe_relative
from featcache.storage.durable import file_digest, make_folders

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from adapter.takeaway.log import ActionLog

How = Literal["link", "copy", "move"]


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A file and where it goes.

    Attributes:
        source: The photo, or the raw file beside it.
        target: Its place.
    """

    source: Path
    target: Path


def plan_folder(
    root: Path, paths: Sequence[str], out: Path, photos: Collection[str] = ()
) -> list[Placed]:
    """Name photos by their place.

    Args:
        root: Their folder.
        paths: Their paths below it, the first place first.
        out: Where they go; it need not exist, and holds none of the names.
        photos: Paths of all that are photos of their own. A raw file beside its JPEG that is none
            of them goes where the JPEG goes.

    Raises:
        ConfigError: A photo is not there, or a name is taken.
        DatasetError: A path leads out of the root.
    """
    digits = max(len(str(len(paths))), 4)
    alone, raw = set(photos), RawTwins()
    placed = []
    for place, path in enumerate(paths, start=1):
        photo = safe_relative(root, path)
        if not photo.is_file():
            raise ConfigError(f"{photo}: not there; is {root} the folder of these photos?")
        beside = PurePosixPath(path)
        twins = [name for name in raw.of(photo) if str(beside.with_name(name)) not in alone]
        for name in (photo.name, *twins):
            target = out / f"{place:0{digits}d}_{name}"
            if os.path.lexists(target):
                raise ConfigError(f"{target}: is there already; choose an empty folder")
            placed.append(Placed(source=photo.with_name(name), target=target))
    return placed


def carry_out(plan: Sequence[Placed], how: How, log: ActionLog) -> int:
    """Carry out a plan; returns how many files are in place.

    Raises:
        OSError: The folder cannot be written; the log says how far it came.
    """
    for placed in plan:
        folder = placed.target.parent
        if not folder.is_dir():
            log.note("folder", folder)
            make_folders(folder)
        source = placed.source.absolute()
        if how == "link":
            log.note("link", placed.target, source=str(source))
            placed.target.symlink_to(source)
            continue
        log.note(how, placed.target, source=str(source), digest=file_digest(source))
        if how == "copy":
            _copy(source, placed.target)
        else:
            shutil.move(source, placed.target)
    return len(plan)


def _copy(source: Path, target: Path) -> None:
    """Copy under a name for what is not finished, so that a copy is whole or not there."""
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        shutil.copy2(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)

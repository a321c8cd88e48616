"""Paths below a data set's folder: which are images, and which are refused."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from featcache.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("jpg", "jpeg", "jp2", "png", "webp", "avif", "gif", "bmp"),
        *("tif", "tiff", "ppm", "pgm", "pbm"),
    )
)


@lru_cache(maxsize=64)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def safe_relative(root: str | os.PathLike[str], path: str) -> Path:
    """Join ``root`` and ``path``, which must stay inside ``root``.

    Args:
        root: A folder. It may itself be, or lie behind, a symbolic link.
        path: POSIX path of a file below it; it need not exist.

    Returns:
        The path of the file, below ``root``.

    Raises:
        DatasetError: ``path`` is empty or absolute, contains ``..``, or leads outside ``root``
            through a symbolic link.
    """
    pure, windows = PurePosixPath(path), PureWindowsPath(path)
    if not pure.parts or "\0" in path:
        raise DatasetError(f"{path!r} is not a file name; expected a path relative to {root}")
    if pure.is_absolute() or windows.drive or windows.root:
        raise DatasetError(f"{path!r} is absolute; expected a path relative to {root}")
    if ".." in pure.parts or ".." in windows.parts:
        raise DatasetError(f"{path!r} contains '..'; expected a path inside {root}")
    target = Path(root) / pure
    real, inside = os.path.realpath(target), _real(os.path.abspath(root))  # noqa: PTH100
    if os.path.commonpath([real, inside]) != inside:
        raise DatasetError(f"{path!r} leads to {real}, outside {root}; give the real folder")
    return target


def is_image(name: str) -> bool:
    """Tell whether a file name is that of an image: not hidden, and with a known suffix."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def walk_images(root: Path, below: str = "") -> Iterator[str]:
    """Yield the POSIX paths, relative to ``root``, of all images below a folder, unsorted.

    Hidden files and folders are skipped; links to folders are not followed.

    Raises:
        DatasetError: A path is not valid UTF-8, as the cache's tables are.
    """
    for folder, folders, files in os.walk(root / below):
        folders[:] = [name for name in folders if not name.startswith(".")]
        prefix = Path(folder).relative_to(root).as_posix()
        for name in files:
            if is_image(name):
                path = name if prefix == "." else f"{prefix}/{name}"
                if any("\ud800" <= letter <= "\udfff" for letter in path):
                    raise DatasetError(
                        f"{root}: the name {os.fsencode(path)!r} is not UTF-8; rename the file"
                    )
                yield path

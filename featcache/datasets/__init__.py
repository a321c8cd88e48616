"""Readers of data sets, by name. A new one is a file beside this one and a line below.

Readers are imported when they are asked for, so listing names costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

from featcache.errors import DatasetError

if TYPE_CHECKING:
    import os

    from featcache.datasets.base import Dataset, DatasetInfo

# name -> module in this folder, class
_READERS = {
    "adience": ("adience", "Adience"),
    "hci": ("hci", "Hci"),
    "utkface": ("utkface", "UtkFace"),
    "koniq10k": ("koniq10k", "Koniq10k"),
    "ava": ("ava", "Ava"),
    "coco-rem": ("coco", "CocoRem"),
    "coco": ("coco", "Coco"),
    "clevr": ("clevr", "Clevr"),
    "lvis": ("lvis", "Lvis"),
    "agiqa-3k": ("agiqa_3k", "Agiqa3k"),
    "live-itw": ("live_itw", "LiveItw"),
    "spaq": ("spaq", "Spaq"),
    "tid2013": ("tid2013", "Tid2013"),
    "aadb": ("aadb", "Aadb"),
    "para": ("para", "Para"),
    "folder": ("folder", "Folder"),
    "table": ("table", "Table"),
    "demo": ("demo", "Demo"),
}


def names() -> tuple[str, ...]:
    """List the names of all data sets."""
    return tuple(_READERS)


def reader(name: str) -> type[Dataset]:
    """Import the reader of a data set.

    Raises:
        DatasetError: There is no data set of this name.
    """
    try:
        module, cls = _READERS[name]
    except KeyError:
        raise DatasetError(
            f"there is no data set {name!r}; the names are {', '.join(_READERS)}"
        ) from None
    return cast("type[Dataset]", getattr(importlib.import_module(f"{__name__}.{module}"), cls))


def info(name: str) -> DatasetInfo:
    """Return what is known about a data set: size, license, layout, options.

    Raises:
        DatasetError: There is no data set of this name.
    """
    return reader(name).info


def open_dataset(name: str, root: str | os.PathLike[str], **options: Any) -> Dataset:
    """Return the reader of a data set on a folder; nothing is read yet.

    Args:
        name: One of ``names()``.
        root: The data set's folder.
        **options: As ``info(name).options`` declares them; text is converted.

    Raises:
        DatasetError: There is no data set of this name, or no such option.
    """
    return reader(name)(root, **options)

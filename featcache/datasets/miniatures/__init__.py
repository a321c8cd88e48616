"""Miniatures: small drawn stand-ins of data sets, in the layout of their publishers.

    write("adience", Path("data/adience"))

Each data set has a generator here, under the name of its reader's file. A miniature has the file
names, tables, splits and oddities of the real archive, and pictures that this project draws. What
a label says can be seen: more solids for counts, blur, noise and blocks for quality, films for
decades, drawn faces for ages. So a method can learn from it, and what it learns says nothing of
photographs. A marker in the folder (`featcache.datasets.stand_in`) tells, and all that is made of
the folder repeats it.

The same name and number of images give the same labels and pixels each time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

from featcache.datasets import info
from featcache.datasets.miniatures.draft import Draft
from featcache.datasets.scenes.seeds import MINIATURES
from featcache.datasets.stand_in import MARKER, StandIn, read_marker
from featcache.errors import DatasetError
from featcache.storage.durable import committed_folder
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

# name -> module in this folder. The place of a module in _MODULES is that of its seed.
_GENERATORS = {
    "adience": "adience",
    "hci": "hci",
    "utkface": "utkface",
    "koniq10k": "koniq10k",
    "ava": "ava",
    "coco-rem": "coco",
    "coco": "coco",
    "clevr": "clevr",
    "lvis": "coco",  # on the pictures of COCO, as LVIS is
    "agiqa-3k": "agiqa_3k",
    "live-itw": "live_itw",
    "spaq": "spaq",
    "tid2013": "tid2013",
    "aadb": "aadb",
    "para": "para",
}
_MODULES = tuple(dict.fromkeys(_GENERATORS.values()))


class Generator(Protocol):
    """What a module here defines."""

    IMAGES: int
    FEWEST: int
    MOST: int

    def draw(self, draft: Draft, name: str, images: int) -> Mapping[str, Any]:
        """Write a miniature of so many images; return the reader's options that fit it."""


def names() -> tuple[str, ...]:
    """List the data sets of which there are miniatures."""
    return tuple(_GENERATORS)


def seed_of(name: str) -> int:
    """Return the seed of a miniature's pictures."""
    return MINIATURES[1 + _MODULES.index(_GENERATORS[name])]


def write(name: str, folder: Path, images: int | None = None) -> Path:
    """Draw a miniature into a folder: whole, or not at all.

    Args:
        name: One of ``names()``.
        folder: Absent, empty, or with the same miniature, which is kept.
        images: How many images the reader shall list; the data set's own default when None.

    Returns:
        The folder.

    Raises:
        DatasetError: There is no miniature of this name, the number does not fit, or the folder
            holds something else.
        WriteError: It cannot be written.
    """
    generator = _generator(name)
    count = generator.IMAGES if images is None else images
    if not generator.FEWEST <= count <= generator.MOST:
        raise DatasetError(
            f"a miniature of {name} cannot have {quantity(count, 'image')}; give "
            f"{generator.FEWEST:,} to "
            f"{generator.MOST:,}"
        )
    if _is_there(name, folder, count):
        return folder
    with committed_folder(folder) as unfinished:
        draft = Draft(unfinished, seed_of(name))
        options = generator.draw(draft, name, count)
        mark = StandIn(dataset=name, images=count, options=options)
        draft.json(MARKER, mark.to_dict(info(name).title))
    return folder


def _is_there(name: str, folder: Path, images: int) -> bool:
    """Whether the folder holds this very miniature; raises DatasetError if it holds another thing.

    The marker is written last, and the folder gets its name when all is written.
    """
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"{folder} is a file; name a folder, absent or empty")
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    there = read_marker(folder)
    if there is not None and (there.dataset, there.images) == (name, images):
        return True
    held = (
        f"a miniature of {there.dataset} with {quantity(there.images, 'image')}"
        if there
        else "something else"
    )
    raise DatasetError(
        f"{folder} holds {held}; a miniature is drawn only into a folder that is absent or empty. "
        "Name another one, or remove this one"
    )


def _generator(name: str) -> Generator:
    if name not in _GENERATORS:
        info(name)  # which says it where there is no such data set at all
        raise DatasetError(
            f"there is no miniature of {name}: its images are your own, or are drawn anyway; "
            f"there are {', '.join(_GENERATORS)}"
        )
    return cast("Generator", importlib.import_module(f"{__name__}.{_GENERATORS[name]}"))

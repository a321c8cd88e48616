"""Any folder of images, without labels.

    featcache extract --dataset folder --root photos --out cache

Images are found recursively by suffix (see ``IMAGE_SUFFIXES`` in ``paths.py``), hidden files and
folders are skipped, links to folders are not followed. What is skipped is counted, and told by
kind. The sample id is the path below the root, and images are sorted by it.

Cameras that write a raw file and a JPEG of the same name write one photo twice: the JPEG stands for
both, unless ``pairs`` is ``separate``.
"""

from __future__ import annotations

from functools import cached_property

from featcache.datasets.base import (
    Dataset,
    DatasetInfo,
    ImageRecord,
    Label,
    Option,
    walk_images,
)
from featcache.datasets.paths import Skipped, folders_of, without_raw_twins
from featcache.datasets.stand_in import is_marked


class Folder(Dataset):
    """All images below a folder."""

    info = DatasetInfo(
        name="folder",
        title="Folder of images",
        task="none: images only",
        num_images=None,
        license="your own data",
        source="any folder with images in it",
        layout="ROOT/\n  **/*.{jpg,jpeg,png,webp,avif,gif,bmp,tif,tiff,ppm,pgm,pbm,jp2}\n"
        "  **/*.{heic,heif,hif,dng,cr2,cr3,nef,arw,...}   (with the extra photos)",
        options={
            "pairs": Option(
                help="a raw file and its JPEG of the same name: merge, one photo; separate, two",
                default="merge",
                choices=("merge", "separate"),
            )
        },
        color="srgb",
    )

    def annotated(self) -> list[ImageRecord]:
        """List the images below the root, sorted by path."""
        return [ImageRecord(path, path) for path in self._walked[0]]

    def annotations(self) -> list[Label]:
        """Return nothing: a folder has no labels."""
        return []

    def notes(self) -> list[str]:
        """Tell what was skipped."""
        return self._walked[1].lines()

    @cached_property
    def stand_in(self) -> bool:
        """Whether any of the images lies in a drawn stand-in of a data set."""
        return is_marked(self.root, folders_of(self.annotated_table()["path"]))

    @cached_property
    def _walked(self) -> tuple[list[str], Skipped]:
        skipped = Skipped()
        found = sorted(walk_images(self.root, skipped))
        if self.options["pairs"] == "merge":
            found = without_raw_twins(found, skipped)
        return found, skipped

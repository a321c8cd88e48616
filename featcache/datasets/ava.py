"""AVA: aesthetics of photographs from dpchallenge.com, rated 1 ... 10.

``AVA.txt`` has 255,530 lines of 15 numbers: index, image id, counts of the ratings 1 ... 10, two
tags, challenge. The label is the mean rating; its ten shares are the distribution. The official
test list is ``aesthetics_image_lists/generic_test.jpgl`` (20,000 ids); all else is for training,
as in pyiqa and TMCR. Some of the photographs are gone from the site and others are damaged: those
that are not on the disk are left out and counted by ``check``; damaged ones fail in extraction.

The list that the paper's authors released, ``examples/AVA-split.json``, is another one: 230,686
for training, among them 18,101 of the official test ids, and 4,692 for the test.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from featcache.datasets.base import Dataset, DatasetInfo, Part
from featcache.datasets.columns import IMAGES_SCHEMA, label_columns
from featcache.datasets.queries import PHOTOMETRIC, quality
from featcache.datasets.rows import rating_shares, read_lines
from featcache.errors import DatasetError
from featcache.wording import quantity

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LISTS = "aesthetics_image_lists/generic_test.jpgl"


class _Ratings(NamedTuple):
    """Images [n], and the shares of their ratings 1 ... 10, float64 [n, 10]."""

    images: list[str]
    shares: NDArray[np.float64]


class Ava(Dataset):
    """AVA with the official test list."""

    info = DatasetInfo(
        name="ava",
        title="AVA",
        task="mean aesthetic rating; brightness, contrast, colourfulness",
        num_images=255_530,
        license="images: copyright of their authors, not to be redistributed; ratings: research",
        source="the lists of the AVA_dataset repository (mtobeiyf/ava_downloader); "
        "the images from dpchallenge.com",
        layout=(
            "ROOT/\n"
            "  AVA.txt\n"
            "  aesthetics_image_lists/generic_test.jpgl\n"
            "  images/ID.jpg                        or image/ID.jpg"
        ),
    )
    parts = (
        Part(what="ratings", places=("AVA.txt", "*/AVA.txt")),
        Part(what="test list", places=(_LISTS, f"*/{_LISTS}")),
        Part(what="images", places=("images/images", "images", "image", "*/images", "*/image")),
    )
    measured_queries = PHOTOMETRIC

    def annotated_table(self) -> pa.Table:
        """Return the rated photographs; the id is dpchallenge's."""
        folder = self.need("images")
        paths = [f"{folder}/{image}.jpg" for image in self._ratings.images]
        return pa.table([self._ratings.images, paths], schema=IMAGES_SCHEMA)

    def annotations_table(self) -> pa.Table:
        """One mean rating per photograph, with the shares of the ten ratings."""
        images, shares = self._ratings
        values = np.zeros(len(images))
        for rating in range(1, 11):  # in this order, so that no last bit depends on a library
            values += rating * shares[:, rating - 1]
        return label_columns(
            pa.array(images, pa.string()),
            values,
            task="aesthetics",
            query=quality(),
            split=pa.array(["test" if image in self._test else "train" for image in images]),
            distribution=shares,
        )

    def notes(self) -> list[str]:
        """Count test ids without ratings."""
        unrated = len(self._test - set(self._ratings.images))
        return [f"{quantity(unrated, 'id')} of the test list without ratings"] if unrated else []

    @cached_property
    def _ratings(self) -> _Ratings:
        rows: dict[str, tuple[str, list[str]]] = {}  # image -> where, counts
        for where, cells in read_lines(self.root / self.need("ratings")):
            if len(cells) != 15:
                raise DatasetError(f"{where}: found {quantity(len(cells), 'number')}, expected 15")
            if rows.setdefault(cells[1], (where, cells[2:12]))[1] != cells[2:12]:
                raise DatasetError(f"{where}: image {cells[1]} has other ratings on another line")
        places, counts = [x for x, _ in rows.values()], [x for _, x in rows.values()]
        return _Ratings(list(rows), rating_shares(places, counts))

    @cached_property
    def _test(self) -> set[str]:
        file = self.root / self.need("test list")
        return {cells[0] for _, cells in read_lines(file)}

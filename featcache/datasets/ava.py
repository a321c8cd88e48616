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

from featcache.datasets.base import Dataset, DatasetInfo, ImageRecord, Label, Part
from featcache.datasets.queries import PHOTOMETRIC, quality
from featcache.datasets.rows import parse_number, read_lines, shares
from featcache.errors import DatasetError

_LISTS = "aesthetics_image_lists/generic_test.jpgl"


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

    def annotated(self) -> list[ImageRecord]:
        """List the rated photographs; the id is dpchallenge's."""
        folder = self.need("images")
        return [ImageRecord(image, f"{folder}/{image}.jpg") for image in self._ratings]

    def annotations(self) -> list[Label]:
        """One mean rating per photograph, with the shares of the ten ratings."""
        query, test = quality(), self._test
        out = []
        for image, ratings in self._ratings.items():
            value = sum(rating * share for rating, share in enumerate(ratings, start=1))
            split = "test" if image in test else "train"
            out.append(Label(image, "aesthetics", query, value, split, distribution=ratings))
        return out

    def notes(self) -> list[str]:
        """Count test ids without ratings."""
        unrated = len(self._test - self._ratings.keys())
        return [f"{unrated:,} ids of the test list have no ratings"] if unrated else []

    @cached_property
    def _ratings(self) -> dict[str, tuple[float, ...]]:
        file = self.root / self.need("ratings")
        out: dict[str, tuple[float, ...]] = {}
        for where, cells in read_lines(file):
            if len(cells) != 15:
                raise DatasetError(f"{where}: found {len(cells)} numbers, expected 15")
            counts = [parse_number(where, cell, 0, 1e9) for cell in cells[2:12]]
            ratings = shares(where, counts)
            if out.setdefault(cells[1], ratings) != ratings:
                raise DatasetError(f"{where}: image {cells[1]} has other ratings on another line")
        return out

    @cached_property
    def _test(self) -> set[str]:
        file = self.root / self.need("test list")
        return {cells[0] for _, cells in read_lines(file)}

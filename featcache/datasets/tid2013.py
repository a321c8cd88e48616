"""TID2013: quality of images with drawn distortions.

25 reference images, 24 kinds of distortion, 5 levels: 3,000 distorted images in
``distorted_images``, named ``iRR_DD_L.bmp``, and ``mos_with_names.txt`` with a score of 0 ... 9 and
a name per line, e.g. ``5.51429 I01_01_1.bmp``. The case of names differs between the list and the
disk (``i25``, ``.BMP``), so it is ignored. There is no official split; ours keeps all images of a
reference on one side, 20 references for training and 5 for the test, by seed, ten times.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from featcache.datasets.base import (
    SEEDED_OPTIONS,
    Dataset,
    DatasetInfo,
    ImageRecord,
    Label,
    Part,
    is_image,
)
from featcache.datasets.queries import quality
from featcache.datasets.rows import parse_number, read_lines
from featcache.errors import DatasetError

if TYPE_CHECKING:
    from featcache.datasets.splits import Fold

HIGHEST = 9.0


class Tid2013(Dataset):
    """TID2013, distorted images."""

    info = DatasetInfo(
        name="tid2013",
        title="TID2013",
        task="mean opinion score of distorted images",
        num_images=3_000,
        license="free for research (the database page); no formal license",
        source="the TID2013 page (Nikolay Ponomarenko)",
        layout="ROOT/\n  mos_with_names.txt\n  distorted_images/i01_01_1.bmp ...",
        options=SEEDED_OPTIONS,
    )
    parts = (
        Part(what="scores", places=("mos_with_names.txt", "*/mos_with_names.txt")),
        Part(what="images", places=("distorted_images", "*/distorted_images")),
    )

    def annotated(self) -> list[ImageRecord]:
        """List the scored images; the id is the stem in lower case."""
        folder = self.need("images")
        on_disk = {
            entry.name.lower(): entry.name
            for entry in (self.root / folder).iterdir()
            if is_image(entry.name)
        }
        return [
            ImageRecord(_sample(name), f"{folder}/{on_disk.get(name.lower(), name)}")
            for name in self._scores
        ]

    def annotations(self) -> list[Label]:
        """One mean opinion score per image."""
        return [
            Label(_sample(name), "quality", quality(), value, "all")
            for name, value in self._scores.items()
        ]

    def published_folds(self, samples: list[str]) -> list[Fold]:
        """Give the seeded splits."""
        return self.seeded_folds(samples)

    def group(self, sample_id: str) -> str:
        """Return the reference image, e.g. ``i01``."""
        return sample_id.split("_")[0]

    @cached_property
    def _scores(self) -> dict[str, float]:
        file = self.root / self.need("scores")
        out: dict[str, float] = {}
        for where, cells in read_lines(file):
            if len(cells) != 2:
                raise DatasetError(f"{where}: found {cells}, expected a score and a name")
            out[cells[1]] = parse_number(where, cells[0], 0, HIGHEST)
        return out


def _sample(name: str) -> str:
    return name.rsplit(".", 1)[0].lower()

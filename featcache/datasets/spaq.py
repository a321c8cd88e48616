"""SPAQ: quality of smartphone photographs, and five attributes.

``Annotations/MOS and Image attribute scores.xlsx`` (h4nwei/SPAQ) has 11,125 rows with the columns
``Image name, MOS, Brightness, Colorfulness, Contrast, Noisiness, Sharpness``, on 0 ... 100, all of
them opinions of people. Many keep it as CSV, which is read too. Photographs are in ``TestImage``.
The attributes are labels of the task ``attribute``. There is no official split; ours is four fifths
for training, by seed, ten times.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from featcache.datasets.base import (
    SEEDED_OPTIONS,
    Dataset,
    DatasetInfo,
    ImageRecord,
    Label,
    Part,
)
from featcache.datasets.queries import quality
from featcache.datasets.rows import Row, number, read_rows

if TYPE_CHECKING:
    from featcache.datasets.splits import Fold

ATTRIBUTES = ("Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness")
_NAME = "Image name"


class Spaq(Dataset):
    """SPAQ with its workbook of scores."""

    info = DatasetInfo(
        name="spaq",
        title="SPAQ",
        task="mean opinion score of quality, and of five attributes",
        num_images=11_125,
        license="educational and research use (the release's readme)",
        source="the repository h4nwei/SPAQ",
        layout=(
            "ROOT/\n  TestImage/*.jpg\n  Annotations/MOS and Image attribute scores.xlsx   or .csv"
        ),
        options=SEEDED_OPTIONS,
    )
    parts = (
        Part(what="images", places=("TestImage", "*/TestImage", "TestImage_*")),
        Part(
            what="scores",
            places=tuple(
                f"{prefix}MOS[ _]and[ _]Image[ _]attribute[ _]scores.{suffix}"
                for prefix in ("Annotations/", "annotations/", "", "*/Annotations/")
                for suffix in ("xlsx", "csv")
            ),
        ),
    )

    def annotated(self) -> list[ImageRecord]:
        """List the photographs of the table; the id is the file's stem."""
        folder = self.need("images")
        return [ImageRecord(_sample(row), f"{folder}/{row[_NAME]}") for _, row in self._rows]

    def annotations(self) -> list[Label]:
        """Six scores per photograph."""
        labels = []
        for where, row in self._rows:
            value = number(where, row, "MOS", 0, 100)
            labels.append(Label(_sample(row), "quality", quality(), value, "all"))
            labels += [
                Label(
                    _sample(row),
                    "attribute",
                    quality(name.lower()),
                    number(where, row, name, 0, 100),
                    "all",
                )
                for name in ATTRIBUTES
            ]
        return labels

    def published_folds(self, samples: list[str]) -> list[Fold]:
        """Give the seeded splits."""
        return self.seeded_folds(samples)

    @cached_property
    def _rows(self) -> list[tuple[str, Row]]:
        return list(read_rows(self.root / self.need("scores"), (_NAME, "MOS", *ATTRIBUTES)))


def _sample(row: Row) -> str:
    return PurePosixPath(row[_NAME]).stem

"""KonIQ-10k: quality of photographs in the wild.

Two tables are in use, with the same names for different things. In
``koniq10k_distributions_sets.csv`` (subpic/koniq, ``metadata/``) ``MOS`` is on the scale 0 ... 100,
``c1`` ... ``c5`` are shares, and ``set`` is the official split: 7,058 training, 1,000 validation,
2,015 test. In ``koniq10k_scores_and_distributions.csv`` ``MOS`` is on 1 ... 5, ``MOS_zscore`` on
0 ... 100, ``c1`` ... ``c5`` are counts, and there is no split. Either will do; with both, the
first is read. The archives of images hold some 300 that nobody scored; they are left out.

The paper trains on the first 8,058 (``examples/koniqa-split.json``): that is training and
validation together.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from featcache.datasets.base import (
    SPLIT_FILE,
    Dataset,
    DatasetInfo,
    ImageRecord,
    Label,
    Option,
    Part,
)
from featcache.datasets.queries import PHOTOMETRIC, quality
from featcache.datasets.rows import Row, number, read_rows, shares
from featcache.errors import DatasetError

_SETS = {"training": "train", "validation": "val", "test": "test"}
_COUNTS = ("c1", "c2", "c3", "c4", "c5")


class Koniq10k(Dataset):
    """KonIQ-10k at either resolution."""

    info = DatasetInfo(
        name="koniq10k",
        title="KonIQ-10k",
        task="mean opinion score of quality; brightness, contrast, colourfulness",
        num_images=10_073,
        license="images: Creative Commons of YFCC100M, one by one; scores: see the database page",
        source="the KonIQ-10k page of the MMSP group, University of Konstanz",
        layout=(
            "ROOT/\n"
            "  1024x768/*.jpg                       or 512x384/*.jpg\n"
            "  koniq10k_distributions_sets.csv      official split and scores\n"
            "  koniq10k_scores_and_distributions.csv   instead: scores without a split"
        ),
        options={
            "scale": Option(
                help="0-100: the z-scored MOS that benchmarks use; 1-5: the plain mean of ratings",
                default="0-100",
                choices=("0-100", "1-5"),
            ),
            "split_file": SPLIT_FILE,
        },
    )
    parts = (
        Part(
            what="images",
            places=("1024x768", "*/1024x768", "512x384", "*/512x384"),
        ),
        Part(
            what="scores",
            places=(
                "koniq10k_distributions_sets.csv",
                "*/koniq10k_distributions_sets.csv",
                "koniq10k_scores_and_distributions.csv",
                "*/koniq10k_scores_and_distributions.csv",
            ),
        ),
    )
    measured_queries = PHOTOMETRIC

    def annotated(self) -> list[ImageRecord]:
        """List the scored images; the id is the file's stem."""
        folder = self.need("images")
        return [
            ImageRecord(PurePosixPath(row["image_name"]).stem, f"{folder}/{row['image_name']}")
            for _, row in self._rows()
        ]

    def annotations(self) -> list[Label]:
        """One mean opinion score per image, with the shares of the five ratings."""
        out = []
        for where, row in self._rows():
            distribution = shares(where, [number(where, row, c, 0, 1e9) for c in _COUNTS])
            if self.options["scale"] == "1-5":
                value = sum(rating * share for rating, share in enumerate(distribution, start=1))
            else:
                column = "MOS_zscore" if "MOS_zscore" in row else "MOS"
                value = number(where, row, column, 0, 100)
            sample = PurePosixPath(row["image_name"]).stem
            out.append(
                Label(
                    sample,
                    "quality",
                    quality(),
                    value,
                    self._split(where, row),
                    distribution=distribution,
                )
            )
        return out

    def notes(self) -> list[str]:
        """Tell when the table has no split."""
        if self.need("scores").endswith("koniq10k_scores_and_distributions.csv"):
            return ["no split: koniq10k_distributions_sets.csv, which has it, is not there"]
        return []

    def _rows(self) -> list[tuple[str, Row]]:
        file = self.root / self.need("scores")
        return list(read_rows(file, ("image_name", "MOS", *_COUNTS)))

    @staticmethod
    def _split(where: str, row: Row) -> str:
        if "set" not in row:
            return "all"
        if row["set"] not in _SETS:
            raise DatasetError(
                f"{where}, column set: found {row['set']!r}, expected {', '.join(_SETS)}"
            )
        return _SETS[row["set"]]

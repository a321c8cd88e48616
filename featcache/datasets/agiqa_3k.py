"""AGIQA-3k: quality of generated images, and how well they show their prompt.

``data.csv`` (lcysyzxdxc/AGIQA-3k-Database) has 2,982 rows: ``name, prompt, adj1, adj2, style,
mos_quality, std_quality, mos_align, std_align``, scores on 0 ... 5. The images come as a separate
archive. There is no official split; ours keeps all images of a prompt (300 prompts, about ten
images each) on one side, four fifths of the prompts for training, by seed.

The scores of alignment have a query for each prompt, after the relevance prompts of the paper's
appendix ("Sort images by its relevance to 3 dog."); ``alignment=true`` adds them.
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
    Option,
    Part,
)
from featcache.datasets.queries import quality, relevance
from featcache.datasets.rows import Row, number, read_rows

if TYPE_CHECKING:
    from featcache.datasets.splits import Fold

HIGHEST = 5.0


class Agiqa3k(Dataset):
    """AGIQA-3k with its table of scores."""

    info = DatasetInfo(
        name="agiqa-3k",
        title="AGIQA-3k",
        task="mean opinion score of generated images; optionally alignment with the prompt",
        num_images=2_982,
        license="MIT (the repository's statement for the database)",
        source="the repository lcysyzxdxc/AGIQA-3k-Database, which links to the images",
        layout=(
            "ROOT/\n"
            "  data.csv\n"
            "  AGIQA-3K/*.jpg                       or images/*.jpg, or next to data.csv"
        ),
        options={
            "alignment": Option(help="add a query for each prompt", kind=bool, default=False),
            **SEEDED_OPTIONS,
        },
    )
    parts = (
        Part(what="scores", places=("data.csv", "*/data.csv")),
        Part(
            what="images",
            places=("AGIQA-3[Kk]", "AGIQA-3[Kk]/AGIQA-3[Kk]", "images", "*/images"),
            needed=False,
        ),
    )

    def annotated(self) -> list[ImageRecord]:
        """List the images of the table; the id is the file's stem."""
        folder = self.find("images") or PurePosixPath(self.need("scores")).parent.as_posix()
        return [
            ImageRecord(_sample(row), (PurePosixPath(folder) / row["name"]).as_posix())
            for _, row in self._rows
        ]

    def annotations(self) -> list[Label]:
        """Quality, and with ``alignment`` relevance, per image."""
        labels = []
        for where, row in self._rows:
            value = number(where, row, "mos_quality", 0, HIGHEST)
            labels.append(Label(_sample(row), "quality", quality(), value, "all"))
            if self.options["alignment"]:
                value = number(where, row, "mos_align", 0, HIGHEST)
                query = relevance(row["prompt"])
                labels.append(Label(_sample(row), "alignment", query, value, "all"))
        return labels

    def published_folds(self, samples: list[str]) -> list[Fold]:
        """Give the seeded splits."""
        return self.seeded_folds(samples)

    def group(self, sample_id: str) -> str | None:
        """Return the prompt: images of one prompt show the same scene."""
        return self._prompts.get(sample_id)

    @cached_property
    def _prompts(self) -> dict[str, str]:
        return {_sample(row): row["prompt"] for _, row in self._rows}

    @cached_property
    def _rows(self) -> list[tuple[str, Row]]:
        file = self.root / self.need("scores")
        return list(read_rows(file, ("name", "prompt", "mos_quality", "mos_align")))


def _sample(row: Row) -> str:
    return PurePosixPath(row["name"]).stem

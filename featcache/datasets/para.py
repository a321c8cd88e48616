"""PARA: aesthetics and quality of photographs, with the official split.

Layout and columns are those of the readme in the archive: ``imgs/SESSION/IMAGE`` and
``annotation/PARA-GiaaTrain.csv``, ``PARA-GiaaTest.csv`` with ``imageName, sessionId``, nine counts
``aestheticScore_1.0`` ... ``aestheticScore_5.0`` in steps of a half, ``aestheticScore_mean`` and
``qualityScore_mean``, both on 1 ... 5. 31,220 photographs in all. The scores of single persons
(``PARA-Images.csv``) are not read.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from featcache.datasets.base import Dataset, DatasetInfo, ImageRecord, Part
from featcache.datasets.columns import label_columns
from featcache.datasets.queries import quality
from featcache.datasets.rows import Row, number, rating_shares, read_rows

_FILES = {"train": "PARA-GiaaTrain.csv", "test": "PARA-GiaaTest.csv"}
_MEAN = {"aesthetics": "aestheticScore_mean", "quality": "qualityScore_mean"}
_RATINGS = tuple(f"aestheticScore_{half / 2:.1f}" for half in range(2, 11))


class Para(Dataset):
    """PARA, generic scores."""

    info = DatasetInfo(
        name="para",
        title="PARA",
        task="mean aesthetic score and mean quality score, 1 ... 5",
        num_images=31_220,
        license="research and learning only (the readme in the archive)",
        source="OPPO Research Institute's data set site",
        layout=(
            "ROOT/                                  or PARA/ in it\n"
            "  imgs/session1/*.jpg ...\n"
            "  annotation/PARA-GiaaTrain.csv, annotation/PARA-GiaaTest.csv"
        ),
    )
    parts = (
        Part(what="images", places=("imgs", "*/imgs")),
        *(
            Part(what=split, places=(f"annotation/{name}", f"*/annotation/{name}", name))
            for split, name in _FILES.items()
        ),
    )

    def annotated(self) -> list[ImageRecord]:
        """List the scored photographs; the id is ``SESSION/STEM``."""
        folder = self.need("images")
        return [
            ImageRecord(_sample(row), f"{folder}/{row['sessionId']}/{row['imageName']}")
            for rows in self._rows.values()
            for _, row in rows
        ]

    def annotations_table(self) -> pa.Table:
        """Aesthetics, with the shares of the nine ratings, and quality."""
        parts = []
        for split, rows in self._rows.items():
            samples = pa.array([_sample(row) for _, row in rows], pa.string())
            counts = [[row[column] for column in _RATINGS] for _, row in rows]
            shares = rating_shares([where for where, _ in rows], counts)
            for task, query in (("aesthetics", quality("aesthetics")), ("quality", quality())):
                column = _MEAN[task]
                values = np.array([number(where, row, column, 1, 5) for where, row in rows])
                shown = shares if task == "aesthetics" else None
                parts.append(
                    label_columns(
                        samples, values, task=task, query=query, split=split, distribution=shown
                    )
                )
        return pa.concat_tables(parts)

    @cached_property
    def _rows(self) -> dict[str, list[tuple[str, Row]]]:
        columns = ("imageName", "sessionId", *_MEAN.values(), *_RATINGS)
        return {split: list(read_rows(self.root / self.need(split), columns)) for split in _FILES}


def _sample(row: Row) -> str:
    return f"{row['sessionId']}/{PurePosixPath(row['imageName']).stem}"

"""LVIS v1: counts of 1,203 categories under its federated rule, on images of COCO 2017.

Nobody looked for all categories in all images. Of an image, LVIS states (Gupta et al., "LVIS: A
dataset for large vocabulary instance segmentation", CVPR 2019; fields of ``lvis_v1_*.json``):

- annotated categories: all objects are annotated, unless the category is in
  ``not_exhaustive_category_ids``: then the count is unknown and there is no label;
- ``neg_category_ids``: none is there, a verified zero, which is a label;
- any other category: unknown, no label. The zeros that are written tell readers of the labels
  that a missing one means "unknown".

The files name images by ``coco_url`` alone; some of the validation images are in ``train2017``.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from featcache.datasets.base import SPLIT_FILE, DatasetInfo, Part
from featcache.datasets.coco import SPLITS, CocoFile, CocoStyle, Pairs, sample_id
from featcache.datasets.queries import count
from featcache.errors import DatasetError


class Lvis(CocoStyle):
    """LVIS v1, train and val."""

    info = DatasetInfo(
        name="lvis",
        title="LVIS v1",
        task="number of objects of a category, 1,203 categories, where it is known",
        num_images=119_979,
        license="annotations CC BY 4.0 (the project's statement); images as COCO",
        source="lvisdataset.org; images from cocodataset.org",
        layout=(
            "ROOT/\n"
            "  lvis_v1_train.json, lvis_v1_val.json   or below annotations/ or lvis/\n"
            "  train2017/*.jpg  val2017/*.jpg         or below images/; one split is enough"
        ),
        options={"split_file": SPLIT_FILE},
    )
    parts = (
        Part(what="annotations", places=("lvis_v1_*.json", "*/lvis_v1_*.json")),
        Part(
            what="train",
            places=("lvis_v1_train.json", "*/lvis_v1_train.json"),
            needed=False,
        ),
        Part(what="val", places=("lvis_v1_val.json", "*/lvis_v1_val.json"), needed=False),
        Part(
            what="images",
            places=("train2017", "val2017", "*/train2017", "*/val2017"),
        ),
    )

    def annotations_table(self) -> pa.Table:
        """Exhaustive counts and verified zeros."""
        return pa.concat_tables([self._labels(name, file) for name, file in self.files.items()])

    def _labels(self, name: str, file: CocoFile) -> pa.Table:
        """Return the labels of one file.

        A count is known where each category of a word is answered: annotated, or verified to be
        absent. (LVIS has one category for a word; a file that has two asks for both.)
        """
        absent = listed(file, "neg_category_ids")
        if both := sorted(absent & file.counts.keys()):
            number, category = both[0]
            raise DatasetError(
                f"{self.info.title}: image {sample_id(file.images[number])} has annotations of "
                f"category {category} and lists it as absent; expected one of the two"
            )
        unknown = listed(file, "not_exhaustive_category_ids")
        answered = file.counts.keys() | absent
        pairs = file.by_word(answered, (file.counts[pair] for pair in answered))
        answers = file.by_word(answered, (1 for _ in answered)).values
        known = answers == file.sizes[pairs.places % len(file.words)]
        known &= ~np.isin(pairs.places, file.by_word(unknown, (1 for _ in unknown)).places)
        return file.labels(
            Pairs(pairs.places[known], pairs.values[known]),
            "count",
            [count(word.replace("_", " ")) for word in file.words],
            SPLITS[name],
        )


def listed(file: CocoFile, field: str) -> set[tuple[int, int]]:
    """Return the (image, category id) pairs that a field of the images lists."""
    return {
        (number, category)
        for number, image in enumerate(file.images)
        for category in image.get(field, ())
    }

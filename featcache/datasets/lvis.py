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

from featcache.datasets.base import SPLIT_FILE, DatasetInfo, Label, Part
from featcache.datasets.coco import SPLITS, CocoStyle, sample_id
from featcache.datasets.queries import count


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
            "  train2017/*.jpg  val2017/*.jpg         or below images/; one split will do"
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

    def annotations(self) -> list[Label]:
        """Exhaustive counts and verified zeros."""
        out = []
        for name, file in self.files.items():
            queries = {
                category: count(word.replace("_", " "))
                for category, word in file.categories.items()
            }
            for (number, category), value in sorted(file.counts.items()):
                image = file.images[number]
                if category not in image.get("not_exhaustive_category_ids", ()):
                    out.append(
                        Label(
                            sample_id(image),
                            "count",
                            queries[category],
                            float(value),
                            SPLITS[name],
                        )
                    )
            out += [
                Label(sample_id(image), "count", queries[category], 0.0, SPLITS[name])
                for image in file.images.values()
                for category in sorted(image.get("neg_category_ids", ()))
            ]
        return out

"""COCO: counts of objects, from the instance annotations of COCO 2017 or of COCO-ReM.

COCO-ReM (kdexd/coco-rem) is COCO with its masks redone, so more objects are in it; the images are
those of COCO 2017. Both are read alike: per image and category, the number of annotations.

Labels are written for counts of 1 or more. All 80 categories were annotated in every image, so a
category without a label is a true zero; ``zeros=true`` writes them out (118,000 x 80 rows).

**Crowds.** An annotation with ``iscrowd`` stands for a group that nobody counted. What the paper
does with them is unknown. ``crowd=one`` (default) counts a group as one object, a lower bound that
keeps the image above those without any. ``crowd=ignore`` counts the others only, so an image with
nothing but a crowd passes for empty. ``crowd=leave-out`` gives such an image no label for the
category, which needs ``zeros=true``, as a missing label would otherwise mean zero.

``train2017`` is for training and ``val2017`` for the test, as COCO's own test set has no labels.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, ClassVar, NamedTuple

from featcache.datasets.base import (
    SPLIT_FILE,
    Dataset,
    DatasetInfo,
    ImageRecord,
    Label,
    Option,
    Part,
)
from featcache.datasets.queries import count
from featcache.datasets.rows import read_json
from featcache.errors import DatasetError

SPLITS = {"train": "train", "val": "test"}  # COCO's name -> ours

_FIELDS = frozenset(
    (
        *("images", "id", "file_name", "coco_url"),
        *("neg_category_ids", "not_exhaustive_category_ids"),
        *("annotations", "image_id", "category_id", "iscrowd"),
        *("categories", "name"),
    )
)


class CocoFile(NamedTuple):
    """What is needed of one annotation file.

    Attributes:
        images: Image id -> its record in the file.
        categories: Category id -> name.
        counts: (image id, category id) -> number of annotations that are not crowds.
        crowds: (image id, category id) -> number of crowds.
    """

    images: dict[int, dict[str, Any]]
    categories: dict[int, str]
    counts: dict[tuple[int, int], int]
    crowds: dict[tuple[int, int], int]


class CocoStyle(Dataset):
    """What COCO, COCO-ReM and LVIS have in common: images of COCO 2017 and annotations in JSON."""

    def require(self) -> None:
        """Raise DatasetNotFoundError when no annotation file or no folder of images is there."""
        super().require()
        _ = self.files

    @cached_property
    def files(self) -> dict[str, CocoFile]:
        """The annotation files that are there, by COCO's name of the split."""
        out = {}
        for name in SPLITS:
            if (place := self.find(name)) is not None:
                out[name] = self._read(place)
        return out

    def annotated(self) -> list[ImageRecord]:
        """List the images in the order of the files; the id is the file's stem."""
        return [
            ImageRecord(sample_id(image), self._path(image, name))
            for name, file in self.files.items()
            for image in file.images.values()
        ]

    def _path(self, image: dict[str, Any], name: str) -> str:
        """Find an image's folder: its URL tells it where images moved between the splits."""
        url = PurePosixPath(image.get("coco_url", ""))
        folder = url.parent.name or f"{name}2017"
        return f"{self._folders.get(folder, folder)}/{_file_name(image)}"

    @cached_property
    def _folders(self) -> dict[str, str]:
        """Where the folders of images are: next to the annotations or one level down."""
        out = {}
        for name in ("train2017", "val2017"):
            for place in (f"{name}/{name}", name, f"*/{name}"):
                folders = (path for path in self.root.glob(place) if path.is_dir())
                if (found := min(folders, default=None)) is not None:
                    out[name] = found.relative_to(self.root).as_posix()
                    break
        return out

    def _read(self, place: str) -> CocoFile:
        file = self.root / place
        content = read_json(file, _FIELDS)
        counts: dict[tuple[int, int], int] = defaultdict(int)
        crowds: dict[tuple[int, int], int] = defaultdict(int)
        try:
            images = {image["id"]: image for image in content["images"]}
            categories = {item["id"]: item["name"] for item in content["categories"]}
            for item in content["annotations"]:
                of = crowds if item.get("iscrowd") else counts
                of[item["image_id"], item["category_id"]] += 1
            for image in images.values():
                _file_name(image)
        except (KeyError, TypeError) as error:
            raise DatasetError(
                f"{file}: expected images, annotations and categories in COCO's form; "
                f"missing: {error}"
            ) from error
        for image_id, category in (*counts, *crowds):
            if image_id not in images or category not in categories:
                raise DatasetError(
                    f"{file}: an annotation has image {image_id} and category {category}; "
                    "expected ids of images and categories in the file"
                )
        return CocoFile(images, categories, dict(counts), dict(crowds))


def _file_name(image: dict[str, Any]) -> str:
    name = image.get("file_name") or image["coco_url"]
    return PurePosixPath(name).name


def sample_id(image: dict[str, Any]) -> str:
    """Return the stem of an image's file name, e.g. ``000000000009``."""
    return PurePosixPath(_file_name(image)).stem


_OPTIONS = {
    "crowd": Option(
        help="what a group that nobody counted adds: one, ignore, or leave-out the label",
        default="one",
        choices=("one", "ignore", "leave-out"),
    ),
    "zeros": Option(help="write out counts of zero", kind=bool, default=False),
    "split_file": SPLIT_FILE,
}


def _parts(train: tuple[str, ...], val: tuple[str, ...]) -> tuple[Part, ...]:
    return (
        Part(what="annotations", places=train + val),
        Part(what="train", places=train, needed=False),
        Part(what="val", places=val, needed=False),
        Part(
            what="images",
            places=("train2017", "val2017", "*/train2017", "*/val2017"),
        ),
    )


class Coco(CocoStyle):
    """COCO 2017, instances."""

    info = DatasetInfo(
        name="coco",
        title="COCO 2017 instances",
        task="number of objects of a category, 80 categories",
        num_images=123_287,
        license="annotations CC BY 4.0; images under the licenses of their authors on Flickr",
        source="cocodataset.org",
        layout=(
            "ROOT/\n"
            "  annotations/instances_train2017.json, annotations/instances_val2017.json\n"
            "  train2017/*.jpg  val2017/*.jpg         or below images/; one split will do"
        ),
        options=_OPTIONS,
    )
    parts = _parts(
        ("annotations/instances_train2017.json", "instances_train2017.json"),
        ("annotations/instances_val2017.json", "instances_val2017.json"),
    )
    task: ClassVar[str] = "count"

    def annotations(self) -> list[Label]:
        """Count annotations per image and category; see the top of this module."""
        crowd, zeros = self.options["crowd"], self.options["zeros"]
        if crowd == "leave-out" and not zeros:
            raise DatasetError(
                "option crowd=leave-out needs zeros=true: else the label that is left out "
                "would be taken for a zero"
            )
        out = []
        for name, file in self.files.items():
            queries = {category: count(word) for category, word in file.categories.items()}
            values = dict(file.counts)
            for pair, groups in file.crowds.items():
                if crowd == "one":
                    values[pair] = values.get(pair, 0) + groups
                elif crowd == "leave-out":
                    values.pop(pair, None)
            pairs = (
                ((image, category) for image in file.images for category in queries)
                if zeros
                else sorted(values)
            )
            ids = {number: sample_id(image) for number, image in file.images.items()}
            out += [
                Label(ids[pair[0]], self.task, queries[pair[1]], float(values.get(pair, 0)), split)
                for split in (SPLITS[name],)
                for pair in pairs
                if not (crowd == "leave-out" and pair in file.crowds)
            ]
        return out

    def notes(self) -> list[str]:
        """Count the pairs of image and category with a crowd."""
        return [
            f"{name}: {len(file.crowds):,} pairs of image and category have a crowd "
            f"(crowd={self.options['crowd']})"
            for name, file in self.files.items()
        ]


class CocoRem(Coco):
    """COCO-ReM: other annotations, the same images."""

    info = DatasetInfo(
        name="coco-rem",
        title="COCO-ReM",
        task="number of objects of a category, 80 categories",
        num_images=123_287,
        license="code MIT; annotations: not stated; images as COCO",
        source="the repository kdexd/coco-rem; images from cocodataset.org",
        layout=(
            "ROOT/\n"
            "  annotations/instances_trainrem.json, annotations/instances_valrem.json\n"
            "                                         or in ROOT, coco_rem/ or coco-rem/\n"
            "  train2017/*.jpg  val2017/*.jpg         or below images/; one split will do"
        ),
        options=_OPTIONS,
    )
    parts = _parts(
        ("instances_trainrem.json", "*/instances_trainrem.json"),
        ("instances_valrem.json", "*/instances_valrem.json"),
    )

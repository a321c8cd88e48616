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

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from featcache.datasets.base import (
    SPLIT_FILE,
    Dataset,
    DatasetInfo,
    ImageRecord,
    Option,
    Part,
)
from featcache.datasets.columns import decode, label_columns
from featcache.datasets.queries import count
from featcache.datasets.rows import read_json
from featcache.errors import DatasetError
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

SPLITS = {"train": "train", "val": "test"}  # COCO's name -> ours

_FIELDS = frozenset(
    (
        *("images", "id", "file_name", "coco_url"),
        *("neg_category_ids", "not_exhaustive_category_ids"),
        *("annotations", "image_id", "category_id", "iscrowd"),
        *("categories", "name"),
    )
)


@dataclass(frozen=True, kw_only=True)
class CocoFile:
    """What is needed of one annotation file; numbers of images and words are places in lists.

    Attributes:
        images: The images' records in the file, each once.
        words: The categories' names, each once: categories of one name are one category.
        categories: Category id -> number of its word.
        sizes: int64 [words], how many categories have the word.
        counts: Per (image, category id): annotations that are not crowds.
        crowds: Per (image, category id): crowds.
    """

    images: list[dict[str, Any]]
    words: list[str]
    categories: dict[int, int]
    sizes: NDArray[np.int64]
    counts: Counter[tuple[int, int]]
    crowds: Counter[tuple[int, int]]

    def by_word(self, pairs: Iterable[tuple[int, int]], weights: Iterable[int]) -> Pairs:
        """Sum numbers of (image, category id) by image and word.

        Args:
            pairs: Image and category id.
            weights: The number of each pair.
        """
        keys = [image * len(self.words) + self.categories[category] for image, category in pairs]
        places, inverse = np.unique(np.array(keys, np.int64), return_inverse=True)
        sums = np.bincount(inverse, np.array([*weights], np.float64), minlength=len(places))
        return Pairs(places, sums.astype(np.float64))

    def labels(self, pairs: Pairs, task: str, queries: list[str], split: str) -> pa.Table:
        """Return a label for each pair."""
        images, words = np.divmod(pairs.places, len(self.words))
        samples = pa.array([sample_id(image) for image in self.images], pa.string())
        return label_columns(
            decode(images, samples),
            pairs.values,
            task=task,
            query=decode(words, pa.array(queries, pa.string())),
            split=split,
        )


class Pairs(NamedTuple):
    """Pairs of an image and a word, sorted: image * words + word, int64 [n]; a number of each."""

    places: NDArray[np.int64]
    values: NDArray[np.float64]


class CocoStyle(Dataset):
    """What COCO, COCO-ReM and LVIS have in common: images of COCO 2017 and annotations in JSON."""

    def require(self) -> None:
        """Raise DatasetNotFoundError when no annotation file or no folder of images is there."""
        super().require()
        _ = self.files

    @cached_property
    def files(self) -> dict[str, CocoFile]:
        """The annotation files that are there, by COCO's name of the split."""
        found = {name: self.find(name) for name in SPLITS}
        return {name: self._read(place) for name, place in found.items() if place is not None}

    def annotated(self) -> list[ImageRecord]:
        """List the images in the order of the files; the id is the file's stem."""
        return [
            ImageRecord(sample_id(image), self._path(image, name))
            for name, file in self.files.items()
            for image in file.images
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
        try:
            images = once(file, "image", content["images"])
            named = once(file, "category", content["categories"])
            annotations = once(file, "annotation", content["annotations"])
            words = list(dict.fromkeys(str(item["name"]) for item in named))
            categories = {item["id"]: words.index(str(item["name"])) for item in named}
            numbers = {image["id"]: number for number, image in enumerate(images)}
            for image in images:
                _file_name(image)
            counts: Counter[tuple[int, int]] = Counter()
            crowds: Counter[tuple[int, int]] = Counter()
            for item in annotations:
                image_id, category = item["image_id"], item["category_id"]
                if image_id not in numbers or category not in categories:
                    raise DatasetError(
                        f"{file}: an annotation has image {image_id} and category {category}; "
                        "expected ids of images and categories in the file"
                    )
                of = crowds if item.get("iscrowd") else counts
                of[numbers[image_id], category] += 1
        except (KeyError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{file}: expected images, annotations and categories in COCO's form; "
                f"missing: {error}"
            ) from error
        return CocoFile(
            images=images,
            words=words,
            categories=categories,
            sizes=np.bincount([*categories.values()], minlength=len(words)),
            counts=counts,
            crowds=crowds,
        )


def once(file: Path, what: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return items of a file, each id once; one without an id is there once.

    Raises:
        DatasetError: Two different items have one id.
    """
    out: dict[Any, dict[str, Any]] = {}
    for number, item in enumerate(items):
        key = item["id"] if "id" in item or what != "annotation" else ("without", number)
        if out.setdefault(key, item) != item:
            raise DatasetError(f"{file}: {what} {key} is there twice, with other content")
    return list(out.values())


def _file_name(image: dict[str, Any]) -> str:
    name = image.get("file_name") or image["coco_url"]
    return PurePosixPath(name).name


def sample_id(image: dict[str, Any]) -> str:
    """Return the stem of an image's file name, e.g. ``000000000009``."""
    return PurePosixPath(_file_name(image)).stem


_OPTIONS = {
    "crowd": Option(
        help="a crowd (a group without a count) counts as one, as none (ignore), or gives no label "
        "(leave-out)",
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
            "  train2017/*.jpg  val2017/*.jpg         or below images/; one split is enough"
        ),
        options=_OPTIONS,
    )
    parts = _parts(
        ("annotations/instances_train2017.json", "instances_train2017.json"),
        ("annotations/instances_val2017.json", "instances_val2017.json"),
    )
    task: ClassVar[str] = "count"

    def annotations_table(self) -> pa.Table:
        """Count annotations per image and category; see the top of this module."""
        crowd, zeros = self.options["crowd"], self.options["zeros"]
        if crowd == "leave-out" and not zeros:
            raise DatasetError(
                "option crowd=leave-out needs zeros=true: else the label that is left out "
                "would be taken for a zero"
            )
        parts = []
        for name, file in self.files.items():
            counted = file.counts + file.crowds if crowd == "one" else file.counts
            pairs = file.by_word(counted.keys(), counted.values())
            if zeros:
                values = np.zeros(len(file.images) * len(file.words))
                values[pairs.places] = pairs.values
                pairs = Pairs(np.arange(len(values)), values)
            if crowd == "leave-out":
                groups = file.by_word(file.crowds.keys(), file.crowds.values()).places
                known = ~np.isin(pairs.places, groups)
                pairs = Pairs(pairs.places[known], pairs.values[known])
            queries = [count(word) for word in file.words]
            parts.append(file.labels(pairs, self.task, queries, SPLITS[name]))
        return pa.concat_tables(parts)

    def notes(self) -> list[str]:
        """Count the pairs of image and category with a crowd."""
        return [
            f"{name}: {quantity(len(file.crowds), 'pair')} of image and category with a crowd "
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
            "  train2017/*.jpg  val2017/*.jpg         or below images/; one split is enough"
        ),
        options=_OPTIONS,
    )
    parts = _parts(
        ("instances_trainrem.json", "*/instances_trainrem.json"),
        ("instances_valrem.json", "*/instances_valrem.json"),
    )

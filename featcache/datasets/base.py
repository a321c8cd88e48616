"""What every data set reader is: images apart from labels, and a check before the work starts.

A reader names its files (``parts``), says which images the set's own files name (``annotated``)
and which labels they give (``annotations``). This base class does the rest: finding the parts,
leaving out images that are not on the disk, other splits from a file, and the check.

Everyone reads tables: ``images_table`` and ``labels_table``. Readers of 100,000 rows and more
build tables themselves (``annotated_table``, ``annotations_table``); the others list records.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pyarrow.compute

from featcache.datasets.columns import (
    ImageRecords,
    belonging,
    distinct_images,
    distinct_labels,
    image_records,
    images_of,
    kept,
    label_records,
    labels_of,
)
from featcache.datasets.paths import (
    IMAGE_SUFFIXES,
    folders_of,
    is_file,
    is_hidden,
    is_image,
    safe_relative,
    walk_images,
)
from featcache.datasets.records import (
    DRAWN_BACKBONE,
    SEEDED_OPTIONS,
    SPLIT_FILE,
    CheckReport,
    DatasetInfo,
    DefaultBackbone,
    ImageRecord,
    Label,
    Option,
    Part,
)
from featcache.datasets.splits import (
    Fold,
    find_leaks,
    read_split_file,
    repeated_split,
    resplit,
)
from featcache.datasets.stand_in import WORDS, is_marked, read_marker
from featcache.errors import DatasetError, DatasetNotFoundError
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

pc: Any = pyarrow.compute  # its stubs take no text for a scalar

# What a reader imports from here; described in paths.py and records.py.
__all__ = [
    "IMAGE_SUFFIXES",
    "SEEDED_OPTIONS",
    "SPLIT_FILE",
    "CheckReport",
    "Dataset",
    "DatasetInfo",
    "DefaultBackbone",
    "ImageRecord",
    "Label",
    "Option",
    "Part",
    "is_image",
    "safe_relative",
    "walk_images",
]

_LAYOUT = "Expected layout:"


class Dataset:
    """A data set in a folder.

    Subclasses set ``info`` and ``parts``, and implement ``annotated`` or ``annotated_table``, and
    ``annotations`` or ``annotations_table``. One that defines ``images`` and ``labels`` instead
    answers for itself. Nothing is read before one of them, or ``check``, is called.

    Args:
        root: The data set's folder.
        **options: As ``info.options`` declares them; text is converted. The marker of a drawn
            stand-in may give other defaults, which fit its few images.

    Raises:
        DatasetError: An option is unknown or has a wrong value.
    """

    info: ClassVar[DatasetInfo]
    parts: ClassVar[tuple[Part, ...]] = ()
    measured_queries: Mapping[str, str] = MappingProxyType({})

    def __init__(self, root: str | os.PathLike[str], **options: Any) -> None:
        self.root = Path(root)
        declared = self.info.options
        if unknown := sorted(options.keys() - declared.keys()):
            raise DatasetError(
                f"{self.info.name} has no option {unknown[0]!r}; "
                f"it has {', '.join(sorted(declared)) or 'none'}"
            )
        marker = read_marker(self.root)
        fitting = marker.options if marker and marker.dataset == self.info.name else {}
        given = {name: value for name, value in options.items() if value is not None}
        self.options: dict[str, Any] = {
            name: option.parse(name, given.get(name, fitting.get(name)))
            if name in given or name in fitting
            else option.default
            for name, option in declared.items()
        }

    @property
    def backbone(self) -> DefaultBackbone:
        """What extracts it where no backbone is named; a drawn stand-in asks for no download."""
        return DRAWN_BACKBONE if self.stand_in else self.info.backbone

    @property
    def title(self) -> str:
        """The data set's name in print; that of a drawn stand-in says so."""
        return f"{self.info.title} ({WORDS})" if self.stand_in else self.info.title

    @cached_property
    def stand_in(self) -> bool:
        """Whether the images are those of a drawn stand-in; see `featcache.datasets.stand_in`."""
        found = (self.find(part.what) for part in self.parts)
        return is_marked(self.root, (place for place in found if place is not None))

    def annotated(self) -> Iterable[ImageRecord]:
        """List every image that the set's files name, on the disk or not, in a fixed order."""
        raise NotImplementedError

    def annotations(self) -> Iterable[Label]:
        """List every label that the set's files give, with the splits that stand in them."""
        raise NotImplementedError

    def annotated_table(self) -> pa.Table:
        """Return what ``annotated`` lists, in columns (``columns.IMAGES_SCHEMA``)."""
        return images_of(self.annotated())

    def annotations_table(self) -> pa.Table:
        """Return what ``annotations`` lists, in columns (``columns.LABELS_SCHEMA``)."""
        return labels_of(self.annotations())

    def published_folds(self, samples: list[str]) -> list[Fold]:
        """Give the labeled samples splits that replace those of the annotations.

        Only readers that define it are asked, and not with a split file, which has the say.
        """
        raise NotImplementedError

    def group(self, sample_id: str) -> str | None:
        """Name what must lie on one side of a split as a whole: a person, a scene."""
        del sample_id
        return None

    def seeded_folds(self, samples: list[str]) -> list[Fold]:
        """Give samples the seeded splits of the options ``folds`` and ``seed``.

        One in five groups (persons, scenes; else images) is for the test, the others for training.
        """
        group_of = {sample: self.group(sample) or sample for sample in samples}
        return repeated_split(group_of, folds=self.options["folds"], seed=self.options["seed"])

    def notes(self) -> list[str]:
        """Say what ``check`` should tell beside the counts."""
        return []

    def split_key(self, sample_id: str) -> str:
        """Return the id that split files use for a sample."""
        return sample_id

    def images_table(self) -> pa.Table:
        """Return the images to extract: those named by the set's files that are on the disk.

        Returns:
            ``columns.IMAGES_SCHEMA``: ``sample_id`` and ``path``, each id once.

        Raises:
            DatasetNotFoundError: A needed file or folder is missing, or no image is there.
            DatasetError: A file is not as documented.
        """
        if type(self).images is not Dataset.images:  # a reader that answers in records
            return images_of(self.images())
        self.require()
        named = self._annotated
        found = kept(named, self._is_on_disk(named))
        if not found.num_rows:
            raise DatasetNotFoundError(
                f"{self.info.title}: no images found below {self.root}"
                + (f", such as {named['path'][0]}" if named.num_rows else "")
                + "".join(f". {note}" for note in self.notes())
                + f". {self._expected()}"
            )
        return found

    def labels_table(self) -> pa.Table:
        """Return the labels of the images, with the set's splits or those of ``split_file``.

        Returns:
            ``columns.LABELS_SCHEMA``, as labels.parquet; each label once.

        Raises:
            DatasetNotFoundError, DatasetError: As ``images_table``.
        """
        if type(self).labels is not Dataset.labels:
            labels = distinct_labels(labels_of(self.labels()), self.info.title)
            return belonging(labels, self.images_table())
        images = self.images_table()  # which says first what is missing
        return belonging(self._split_annotations(), images)

    def images(self) -> Sequence[ImageRecord]:
        """Return ``images_table`` as records, which are made when they are asked for."""
        return ImageRecords(self.images_table())

    def labels(self) -> list[Label]:
        """List the rows of ``labels_table``: for small data sets."""
        return list(label_records(self.labels_table()))

    def require(self) -> None:
        """Raise DatasetNotFoundError when a needed part is missing."""
        if not self.root.is_dir():
            raise DatasetNotFoundError(
                f"{self.info.title}: there is no folder {self.root}. {self._expected()}"
            )
        for part in self.parts:
            if part.needed:
                self.need(part.what)

    def find(self, what: str) -> str | None:
        """Return the POSIX path of a part below the root, or ``None`` when it is not there."""
        part = next(part for part in self.parts if part.what == what)
        for place in part.places:
            matches = (path.relative_to(self.root) for path in self.root.glob(place))
            if match := min((path for path in matches if not is_hidden(path)), default=None):
                return match.as_posix()
        return None

    def need(self, what: str) -> str:
        """Return the POSIX path of a part; raises DatasetNotFoundError when it is not there."""
        if (place := self.find(what)) is None:
            places = " or ".join(next(part.places for part in self.parts if part.what == what))
            raise DatasetNotFoundError(
                f"{self.info.title}: no {what} below {self.root} (looked for {places}). "
                f"{self._expected()}"
            )
        return place

    def check(self, *, contents: bool = False) -> CheckReport:
        """Say what is there and what is missing, without extracting anything.

        Args:
            contents: Also read every image file, and report equal files on two sides of a split.
        """
        base = CheckReport(dataset=self.info.name, root=str(self.root), layout=self.info.layout)
        if not self.root.is_dir():
            return replace(base, missing=(f"the folder {self.root}",))
        places = {part.what: self.find(part.what) for part in self.parts}
        base = replace(
            base,
            found=tuple(f"{what}: {place}" for what, place in places.items() if place),
            missing=tuple(
                f"{part.what} (looked for {' or '.join(part.places)})"
                for part in self.parts
                if part.needed and not places[part.what]
            ),
        )
        if base.missing:
            return base
        try:
            self.require()
            named, labels = self._annotated, self._split_annotations()
            on_disk = self._is_on_disk(named)
            notes = tuple(self.notes())
        except DatasetError as error:
            # The report shows the layout by itself.
            return replace(base, problems=(str(error).split(_LAYOUT)[0].strip(),))
        present = kept(named, on_disk)
        labels = belonging(labels, present)
        problems = []
        if not present.num_rows:
            example = f", such as {named['path'][0]}" if named.num_rows else ""
            expected = quantity(named.num_rows, "image")
            problems.append(f"{expected} expected, none is on the disk{example}")
        labeled = pc.unique(labels["sample_id"])
        groups: dict[str, Mapping[str, str] | None] = {"image": None}
        if type(self).group is not Dataset.group:
            of = {sample: self.group(sample) for sample in map(str, labeled)}
            groups["person or scene"] = {s: g for s, g in of.items() if g is not None}
        if contents:
            groups["file content"] = self._digests(image_records(present))
        return replace(
            base,
            num_images=present.num_rows,
            num_labels=labels.num_rows,
            images_missing=named.num_rows - present.num_rows,
            images_extra=len(self._on_disk) - len(pc.unique(present["path"])),
            images_unlabeled=present.num_rows - len(labeled),
            leaks=tuple(x for what, of in groups.items() for x in find_leaks(labels, of, what)),
            notes=notes,
            problems=tuple(problems),
            stand_in=self.stand_in,
        )

    @cached_property
    def _annotated(self) -> pa.Table:
        """What ``annotated`` lists, each image once; two images with one id are an error."""
        return distinct_images(self.annotated_table(), self.info.title)

    def _is_on_disk(self, images: pa.Table) -> NDArray[np.bool_]:
        """Tell for each image [n] whether its file is there."""
        there: NDArray[np.bool_] = pc.is_in(images["path"], value_set=self._on_disk).to_numpy()
        return there

    @cached_property
    def _on_disk(self) -> pa.Array[Any]:
        """Paths of the image files in the folders that hold, or should hold, named images."""
        paths: list[str] = []
        for folder in sorted(folders_of(self._annotated["path"])):
            where = safe_relative(self.root, folder) if folder else self.root
            if not where.is_dir():
                continue
            with os.scandir(where) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if is_image(entry.name) and is_file(entry):
                        if entry.is_symlink():
                            safe_relative(self.root, path)
                        paths.append(path)
        return pa.array(paths, pa.string())

    def _split_annotations(self) -> pa.Table:
        """What ``annotations`` lists, each label once; a contradiction is an error."""
        labels = self.annotations_table()
        if (file := self.options.get("split_file")) is not None:
            folds, key = read_split_file(file), self.split_key
            new = resplit(labels, folds, key, self.info.title)
            if labels.num_rows and not new.num_rows:
                raise DatasetError(
                    f"{file}: none of its ids is one of {self.info.title}'s: found "
                    f"{next(iter(folds[0]), None)!r}, expected ids like "
                    f"{key(str(labels['sample_id'][0]))!r}"
                )
            return distinct_labels(new, self.info.title)
        if type(self).published_folds is not Dataset.published_folds:
            samples = list(map(str, pc.unique(labels["sample_id"])))
            labels = resplit(labels, self.published_folds(samples), str, self.info.title)
        return distinct_labels(labels, self.info.title)

    def _digests(self, images: Iterable[ImageRecord]) -> dict[str, str]:
        out = {}
        for image in images:
            with safe_relative(self.root, image.path).open("rb") as file:
                out[image.sample_id] = hashlib.file_digest(file, "sha256").hexdigest()
        return out

    def _expected(self) -> str:
        theirs = self.info.num_images is not None
        source = f"Where to get the data: {self.info.source}. " if theirs else ""
        return (
            f"{_LAYOUT}\n{self.info.layout}\n{source}"
            f"To see what is there: featcache datasets {self.info.name} --check {self.root}"
        )

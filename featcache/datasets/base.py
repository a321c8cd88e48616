"""What every data set reader is: images apart from labels, and a check before the work starts.

A reader names its files (``parts``), says which images the set's own files name (``annotated``)
and which labels they give (``annotations``). This base class does the rest: finding the parts,
leaving out images that are not on the disk, other splits from a file, and the check.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from featcache.datasets.paths import IMAGE_SUFFIXES, is_image, safe_relative, walk_images
from featcache.datasets.records import (
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
from featcache.datasets.splits import find_leaks, read_split_file, repeated_split, resplit
from featcache.errors import DatasetError, DatasetNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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


class Dataset(ABC):
    """A data set in a folder.

    Subclasses set ``info`` and ``parts`` and implement ``annotated`` and ``annotations``. Nothing
    is read before ``images``, ``labels`` or ``check`` is called.

    Args:
        root: The data set's folder.
        **options: As ``info.options`` declares them; text is converted.

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
        self.options: dict[str, Any] = {
            name: option.parse(name, options[name])
            if options.get(name) is not None
            else option.default
            for name, option in declared.items()
        }

    @abstractmethod
    def annotated(self) -> list[ImageRecord]:
        """List every image that the set's files name, on the disk or not, in a fixed order."""

    @abstractmethod
    def annotations(self) -> list[Label]:
        """List every label that the set's files give, with the set's own splits."""

    def group(self, sample_id: str) -> str | None:
        """Name what must lie on one side of a split as a whole: a person, a scene."""
        del sample_id
        return None

    def seeded_splits(self, labels: list[Label]) -> list[Label]:
        """Give labels the seeded splits of the options ``folds`` and ``seed``.

        One in five groups (persons, scenes; else images) is for the test, the others for training.
        With a split file nothing is done, as that file has the say.
        """
        if self.options["split_file"] is not None:
            return labels
        group_of = {
            label.sample_id: self.group(label.sample_id) or label.sample_id for label in labels
        }
        folds = repeated_split(group_of, folds=self.options["folds"], seed=self.options["seed"])
        return resplit(labels, folds, str)

    def notes(self) -> list[str]:
        """Say what ``check`` should tell beside the counts."""
        return []

    def split_key(self, sample_id: str) -> str:
        """Return the id that split files use for a sample."""
        return sample_id

    def images(self) -> list[ImageRecord]:
        """List the images to extract: those named by the set's files that are on the disk.

        Raises:
            DatasetNotFoundError: A needed file or folder is missing, or no image is there.
            DatasetError: A file is not as documented.
        """
        self.require()
        found = [record for record in self._annotated if record.path in self._on_disk]
        if not found:
            raise DatasetNotFoundError(
                f"{self.info.title}: none of {len(self._annotated):,} images is below {self.root}"
                + (f", e.g. {self._annotated[0].path}" if self._annotated else "")
                + f". {self._expected()}"
            )
        return found

    def labels(self) -> list[Label]:
        """List the labels of ``images()``, with the set's splits or those of ``split_file``.

        Raises:
            DatasetNotFoundError, DatasetError: As ``images``.
        """
        samples = {record.sample_id for record in self.images()}
        return [label for label in self._split_annotations() if label.sample_id in samples]

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
            if match := min(self.root.glob(place), default=None):
                return match.relative_to(self.root).as_posix()
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
            on_disk, named, rows = self._on_disk, self._annotated, self._split_annotations()
        except DatasetError as error:
            # The report shows the layout by itself.
            return replace(base, problems=(str(error).split(_LAYOUT)[0].strip(),))
        present = {record.sample_id: record.path for record in named if record.path in on_disk}
        rows = [label for label in rows if label.sample_id in present]
        problems = []
        if not present:
            example = f", e.g. {named[0].path}" if named else ""
            problems.append(f"none of the {len(named):,} images named is on the disk{example}")
        digests = self._digests(present.values()) if contents else {}
        groups = {
            "image": {sample: sample for sample in present},
            "person or scene": {s: g for s in present if (g := self.group(s)) is not None},
            "file content": {s: digests[path] for s, path in present.items() if path in digests},
        }
        return replace(
            base,
            num_images=len(present),
            num_labels=len(rows),
            images_missing=len(named) - len(present),
            images_extra=len(on_disk - {record.path for record in named}),
            images_unlabeled=len(present.keys() - {label.sample_id for label in rows}),
            leaks=tuple(leak for what, of in groups.items() for leak in find_leaks(rows, of, what)),
            notes=tuple(self.notes()),
            problems=tuple(problems),
        )

    @cached_property
    def _annotated(self) -> list[ImageRecord]:
        """What ``annotated`` lists, each image once; two images with one id are an error."""
        out: dict[str, ImageRecord] = {}
        for record in self.annotated():
            if out.setdefault(record.sample_id, record) != record:
                raise DatasetError(
                    f"{self.info.title}: {record.path} and {out[record.sample_id].path} "
                    f"have the same id {record.sample_id!r}; expected one image for an id"
                )
        return list(out.values())

    @cached_property
    def _on_disk(self) -> set[str]:
        """Paths of the image files in the folders that hold, or should hold, named images."""
        folders = {PurePosixPath(record.path).parent for record in self._annotated}
        paths: set[str] = set()
        for folder in sorted(folders):
            where = safe_relative(self.root, folder.as_posix()) if folder.parts else self.root
            if not where.is_dir():
                continue
            with os.scandir(where) as entries:
                for entry in entries:
                    path = (folder / entry.name).as_posix()
                    if is_image(entry.name) and entry.is_file():
                        if entry.is_symlink():
                            safe_relative(self.root, path)
                        paths.add(path)
        return paths

    def _split_annotations(self) -> list[Label]:
        """What ``annotations`` lists, each label once; a contradiction is an error."""
        labels = self.annotations()
        if (file := self.options.get("split_file")) is not None:
            labels = resplit(labels, read_split_file(file), self.split_key)
        out: dict[tuple[Any, ...], Label] = {}
        for label in labels:
            key = (label.sample_id, label.task, label.query, label.split, label.fold)
            if out.setdefault(key, label) != label:
                raise DatasetError(
                    f"{self.info.title}: {label.sample_id!r} has the values {out[key].value:g} "
                    f"and {label.value:g} for {label.query!r}; expected one"
                )
        return list(out.values())

    def _digests(self, paths: Iterable[str]) -> dict[str, str]:
        out = {}
        for path in paths:
            with safe_relative(self.root, path).open("rb") as file:
                out[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return out

    def _expected(self) -> str:
        return (
            f"{_LAYOUT}\n{self.info.layout}\n"
            f"Ask for the data: {self.info.source}. "
            f"Look with: featcache datasets {self.info.name} --check {self.root}"
        )

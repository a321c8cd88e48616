"""UTKFace: faces with the age in the file name.

``<age>_<gender>_<race>_<date and time>.jpg`` (in the wild) or ``....jpg.chip.jpg`` (aligned). Some
names lack the gender or the race (``39_1_2017...``, ``53__0_2017...``); their age is read all the
same. The archives unpack to ``UTKFace/``,
``crop_part1/`` (a part of the same faces again) or ``part1/`` ... ``part3/``: images are found
anywhere below the root, and a face that is there twice counts once.

The split that age estimation uses has ages 21 ... 60. It comes from CORAL
(Raschka-research-group/coral-cnn, commit 172046d, ``datasets/train-test-csv/utk_train.csv`` and
``utk_test.csv``: 13,147 and 3,287 faces, columns ``file`` and ``age``, which there is age - 21).
MiVOLO publishes its own copy as "split from the article" on a drive that is not a public
repository; its tables have a column ``img_name``. Whether the two agree face by face could not be
checked. Put either pair of tables below the root, with ``train`` and ``test`` or ``valid`` in their
names, and they are used; without them, one face in five of each age from 21 to 60 is for the test,
by seed, which gives the same sizes within a few faces and not the same faces.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import PurePosixPath

from featcache.datasets.base import (
    SPLIT_FILE,
    Dataset,
    DatasetInfo,
    ImageRecord,
    Label,
    Option,
    safe_relative,
    walk_images,
)
from featcache.datasets.paths import Skipped, is_hidden
from featcache.datasets.queries import AGE
from featcache.datasets.rows import read_rows
from featcache.datasets.splits import Fold, stratified_split
from featcache.errors import DatasetError, DatasetNotFoundError
from featcache.wording import quantity

_NAME = re.compile(r"\d{1,3}(?:_[0-4]?){1,2}_\d{8,}")
_COMPLETE = re.compile(r"\d{1,3}_[01]_[0-4]_\d{8,}")
_TABLE = re.compile(r"(?:^|[_-])(?:(train)|valid|val|test)(?:[_.-])")
OLDEST = 116


class UtkFace(Dataset):
    """UTKFace in one folder or in parts."""

    info = DatasetInfo(
        name="utkface",
        title="UTKFace",
        task="age of a face in years",
        num_images=23_708,
        license="non-commercial research",
        source="the UTKFace page (Zhang, Song, Qi; University of Tennessee)",
        layout=(
            "ROOT/\n"
            "  **/AGE_GENDER_RACE_TIME.jpg.chip.jpg   aligned, or .jpg in the wild;\n"
            "                                         in one folder or in parts\n"
            "  **/utk_train.csv, **/utk_test.csv      optional: CORAL's or MiVOLO's split"
        ),
        options={
            "youngest": Option(help="ages below are left out", kind=int, default=21),
            "oldest": Option(help="ages above are left out", kind=int, default=60),
            "seed": Option(help="seed of the split, if no table gives one", kind=int, default=0),
            "split_file": SPLIT_FILE,
        },
    )

    def require(self) -> None:
        """Raise DatasetNotFoundError when there is no image with an age in its name."""
        super().require()
        if not self._faces:
            raise DatasetNotFoundError(
                f"{self.info.title}: no image below {self.root} is called "
                f"AGE_GENDER_RACE_TIME.jpg. {self._expected()}"
            )

    def annotated(self) -> list[ImageRecord]:
        """List the faces of the chosen ages; the id is the name up to its first dot."""
        return [ImageRecord(sample, path) for sample, path in self._faces.items()]

    def annotations(self) -> list[Label]:
        """One age per face."""
        return [Label(sample, "age", AGE, float(_age(sample)), "all") for sample in self._faces]

    def published_folds(self, samples: list[str]) -> list[Fold]:
        """Give the split of the tables, or the seeded one."""
        return [
            self._listed_split()
            or stratified_split(
                {sample: _age(sample) for sample in samples},
                {"test": 0.2, "train": 0.8},
                seed=self.options["seed"],
            )
        ]

    def split_key(self, sample_id: str) -> str:
        """Return the name up to its first dot."""
        return sample_id

    def notes(self) -> list[str]:
        """Tell where the split comes from, and count odd names."""
        _ = self._faces
        tables = self._tables()
        source = ", ".join(tables) or f"seed {self.options['seed']}, one face in five of each age"
        out = [f"split: {source}"]
        if tables:
            listed = self._listed_split()
            out.append(
                f"not here: {quantity(len(listed.keys() - self._faces.keys()), 'face')} of it"
            )
        if self._twice:
            out.append(f"there more than once: {quantity(self._twice, 'face')}")
        if self._unread:
            out.append(f"no age in the name: {quantity(self._unread, 'image')}")
        if odd := sum(not _COMPLETE.match(sample) for sample in self._faces):
            out.append(
                f"no gender or race in the name, only the age is used: {quantity(odd, 'image')}"
            )
        return out + self._skipped.lines()

    @cached_property
    def _faces(self) -> dict[str, str]:
        self._twice = self._unread = 0
        low, high = self.options["youngest"], self.options["oldest"]
        if not 0 <= low <= high <= OLDEST:
            raise DatasetError(f"found ages {low} ... {high}, expected a range in 0 ... {OLDEST}")
        out: dict[str, str] = {}
        self._skipped = Skipped()
        for path in sorted(walk_images(self.root, self._skipped)):
            sample = _sample(path)
            if not _NAME.match(sample) or _age(sample) > OLDEST:
                self._unread += 1
            elif sample in out:
                self._twice += 1
            elif low <= _age(sample) <= high:
                out[sample] = path
        return out

    def _tables(self) -> list[str]:
        """Paths of the tables that list a split."""
        paths = (path.relative_to(self.root) for path in self.root.rglob("*.csv"))
        return sorted(
            path.as_posix()
            for path in paths
            if _TABLE.search(path.name.lower()) and not is_hidden(path)
        )

    def _listed_split(self) -> Fold:
        out: Fold = {}
        for path in self._tables():
            match = _TABLE.search(PurePosixPath(path).name.lower())
            split = "train" if match and match[1] else "test"
            for where, row in read_rows(safe_relative(self.root, path), ()):
                name = row.get("file") or row.get("img_name")
                if not name:
                    raise DatasetError(f"{where}: expected a column 'file' or 'img_name'")
                if out.setdefault(_sample(name), split) != split:
                    raise DatasetError(f"{where}: {name} is in train and in test")
        return out


def _sample(path: str) -> str:
    return PurePosixPath(path).name.split(".")[0].strip()


def _age(sample: str) -> int:
    return int(sample.split("_")[0])

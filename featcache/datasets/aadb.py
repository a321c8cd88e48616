"""AADB: aesthetics of photographs from Flickr, scores on 0 ... 1.

The labels are lists in ``imgListFiles_label``: ``imgListTrainRegression_score.txt``, the same with
``Validation`` and ``TestNew``, a name and a score per line: 8,458 for training, 500 for validation,
1,000 for the test ("new", as the first test list was replaced). Without them, ``AADBinfo.mat`` of
the repository aimerykong/deepImageAestheticsAnalysis (``trainNameList, trainScore, testNameList,
testScore``) has the training and test lists. Images are in ``datasetImages_originalSize`` and, for
the test, ``AADB_newtest_originalSize``; or ``datasetImages_warp256``, all at 256 x 256. Names in
the test list and folder may begin with the score (``0.650_farm1_...``), which is no part of the id.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import PurePosixPath
from typing import NamedTuple

from featcache.datasets.base import (
    Dataset,
    DatasetInfo,
    ImageRecord,
    Label,
    Part,
    is_image,
)
from featcache.datasets.queries import quality
from featcache.datasets.rows import parse_number, read_lines
from featcache.errors import DatasetError, DatasetNotFoundError

_LISTS = {"train": "Train", "val": "Validation", "test": "TestNew"}
_SCORE = re.compile(r"^\d\.\d+_")
_FOLDERS = (
    "AADB_newtest_originalSize",
    "datasetImages_originalSize",
    "AADB_newtest_warp256",
    "AADB_newtest",
    "datasetImages_warp256",
)


class _Photo(NamedTuple):
    name: str
    score: float
    split: str


class Aadb(Dataset):
    """AADB, overall score."""

    info = DatasetInfo(
        name="aadb",
        title="AADB",
        task="mean aesthetic score, 0 ... 1",
        num_images=9_958,
        license="images Creative Commons from Flickr; the set for research only (its readme)",
        source="the repository aimerykong/deepImageAestheticsAnalysis, which links to the archives",
        layout=(
            "ROOT/\n"
            "  imgListFiles_label/imgListTrainRegression_score.txt, ...ValidationRegression...,\n"
            "                     ...TestNewRegression_score.txt       or AADBinfo.mat\n"
            "  datasetImages_originalSize/*.jpg  AADB_newtest_originalSize/*.jpg\n"
            "                                         or datasetImages_warp256/*.jpg"
        ),
    )
    parts = (
        Part(
            what="labels",
            places=(
                "imgListFiles_label/imgListTrainRegression_score.txt",
                "*/imgListTrainRegression_score.txt",
                "imgListTrainRegression_score.txt",
                "AADBinfo.mat",
                "*/AADBinfo.mat",
            ),
        ),
        Part(
            what="images",
            places=("datasetImages_*", "*/datasetImages_*", "AADB_newtest*", "*/AADB_newtest*"),
        ),
    )

    def annotated(self) -> list[ImageRecord]:
        """List the scored photographs; the id is the stem without a leading score."""
        where = PurePosixPath(self.need("images")).parent
        at: dict[str, str] = {}
        for folder in (name for name in _FOLDERS if (self.root / where / name).is_dir()):
            for name in sorted(entry.name for entry in (self.root / where / folder).iterdir()):
                if is_image(name):
                    at.setdefault(_sample(name), (where / folder / name).as_posix())
        missing = where / "datasetImages_originalSize"
        return [
            ImageRecord(sample, at.get(sample, (missing / photo.name).as_posix()))
            for sample, photo in self._photos.items()
        ]

    def annotations(self) -> list[Label]:
        """One score per photograph, with the split of the lists."""
        return [
            Label(sample, "aesthetics", quality(), photo.score, photo.split)
            for sample, photo in self._photos.items()
        ]

    def split_key(self, sample_id: str) -> str:
        """Return the stem without a leading score."""
        return sample_id

    def notes(self) -> list[str]:
        """Tell which labels were read."""
        if self.need("labels").endswith(".mat"):
            return ["AADBinfo.mat has no validation list"]
        return []

    @cached_property
    def _photos(self) -> dict[str, _Photo]:
        place = self.need("labels")
        rows = self._from_matlab(place) if place.endswith(".mat") else self._from_lists(place)
        out: dict[str, _Photo] = {}
        for where, photo in rows:
            if out.setdefault(_sample(photo.name), photo) != photo:
                raise DatasetError(f"{where}: {photo.name} is there twice, with other values")
        return out

    def _from_lists(self, train: str) -> list[tuple[str, _Photo]]:
        out = []
        for split, word in _LISTS.items():
            file = self.root / train.replace("imgListTrain", f"imgList{word}")
            if not file.is_file():
                raise DatasetNotFoundError(f"{self.info.title}: no {file}. {self._expected()}")
            for where, cells in read_lines(file):
                if len(cells) < 2:
                    raise DatasetError(f"{where}: found {cells}, expected a name and a score")
                out.append((where, _Photo(cells[0], parse_number(where, cells[1], 0, 1), split)))
        return out

    def _from_matlab(self, place: str) -> list[tuple[str, _Photo]]:
        from scipy.io import loadmat

        file = self.root / place
        out = []
        try:
            content = loadmat(file, squeeze_me=True)
            for split in ("train", "test"):
                names, scores = content[f"{split}NameList"], content[f"{split}Score"]
                for name, score in zip(names.ravel(), scores.ravel(), strict=True):
                    out.append((str(file), _Photo(str(name), float(score), split)))
        except (KeyError, ValueError, TypeError, NotImplementedError, OSError) as error:
            raise DatasetError(
                f"{file}: expected AADB's name lists and scores: {error!r}"
            ) from error
        return out


def _sample(name: str) -> str:
    return _SCORE.sub("", PurePosixPath(name).name).rsplit(".", 1)[0]

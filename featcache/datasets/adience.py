"""Adience: eight age groups of unfiltered faces, in five folds of persons.

Layout and columns: the benchmark's own ``fold_*_data.txt``. The stray ages (single years, and
ranges beside the eight) are mapped as MiVOLO does (WildChlamydia/MiVOLO,
``tools/prepare_adience.py``), with one addition: ``(25, 23)``, which that file leaves alone, is
read as ``(25, 32)``. Faces with the age ``None`` have no label and are left out; the 19,370 rows
then give about 17,470 faces (the length of L2RCLIP's lists, raywang335/L2RCLIP, ``datalist``).

In fold k, part k is for the test and the other four for training (the usual protocol; the paper
reports the mean over folds). The paper's authors released one split of frontal faces instead,
``examples/Adience-split.json``, in which 20 persons are on both sides: give it as ``split_file``
and ``check`` counts them.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import NamedTuple

from featcache.datasets.base import (
    SPLIT_FILE,
    Dataset,
    DatasetInfo,
    ImageRecord,
    Label,
    Option,
    Part,
)
from featcache.datasets.queries import AGE_GROUP
from featcache.datasets.rows import read_rows
from featcache.errors import DatasetError
from featcache.wording import quantity

FOLDS = 5

# The group (4, 6) is number 1, and so on. The group after it is written (8, 12) in the files,
# and 8-13 in the benchmark's description.
GROUPS = (
    "(0, 2)",
    "(4, 6)",
    "(8, 12)",
    "(15, 20)",
    "(25, 32)",
    "(38, 43)",
    "(48, 53)",
    "(60, 100)",
)

_STRAY = {
    **dict.fromkeys(("2", "3"), 0),
    **dict.fromkeys(("13", "(8, 23)"), 2),
    "22": 3,
    **dict.fromkeys(("23", "29", "(27, 32)", "32", "34", "35", "(25, 23)"), 4),
    **dict.fromkeys(("36", "(38, 42)", "(38, 48)", "42", "45"), 5),
    **dict.fromkeys(("46", "55", "56"), 6),
    **dict.fromkeys(("57", "58"), 7),
}
_NUMBER = {name: number for number, name in enumerate(GROUPS)} | _STRAY

# Folder -> beginning of the file names in it.
_PREFIX = {"aligned": "landmark_aligned_face", "faces": "coarse_tilt_aligned_face"}

_PLACES = ("", "*/")


class _Face(NamedTuple):
    path: str
    group: int
    part: int


class Adience(Dataset):
    """Adience, from the folder that holds ``fold_0_data.txt`` ... and the faces."""

    info = DatasetInfo(
        name="adience",
        title="Adience",
        task="age group of a face, 0 ... 7",
        num_images=17_470,
        license="research only, after registration with the authors",
        source="the Adience page of the Face Image Project (Tal Hassner, The Open University)",
        layout=(
            "ROOT/\n"
            "  fold_0_data.txt ... fold_4_data.txt\n"
            "  aligned/USER/landmark_aligned_face.FACE.IMAGE.jpg      or\n"
            "  faces/USER/coarse_tilt_aligned_face.FACE.IMAGE.jpg"
        ),
        options={
            "images": Option(
                help="which faces; by default aligned if it is there",
                choices=("aligned", "faces"),
            ),
            "split_file": SPLIT_FILE,
        },
    )
    parts = (
        Part(what="faces", places=("aligned", "faces", "*/aligned", "*/faces")),
        Part(what="aligned", places=("aligned", "*/aligned"), needed=False),
        Part(what="coarse", places=("faces", "*/faces"), needed=False),
        *(
            Part(what=f"fold {k}", places=tuple(f"{p}fold_{k}_data.txt" for p in _PLACES))
            for k in range(FOLDS)
        ),
    )

    def annotated(self) -> list[ImageRecord]:
        """List the faces that have an age; the id is ``USER/FACE.IMAGE``."""
        return [ImageRecord(sample, face.path) for sample, face in self._faces.items()]

    def annotations(self) -> list[Label]:
        """One label per face and fold."""
        return [
            Label(
                sample,
                "age-group",
                AGE_GROUP,
                float(face.group),
                "test" if face.part == fold else "train",
                fold,
            )
            for fold in range(FOLDS)
            for sample, face in self._faces.items()
        ]

    def group(self, sample_id: str) -> str:
        """Return the user, who stands for a person."""
        return sample_id.split("/")[0]

    def split_key(self, sample_id: str) -> str:
        """Return the file's stem in ``aligned``, without the user, as the authors' file has it."""
        return f"{_PREFIX['aligned']}.{sample_id.split('/', 1)[1]}"

    def notes(self) -> list[str]:
        """Count what was mapped and what was left out."""
        _ = self._faces
        return [f"{quantity(count, 'row')} {what}" for what, count in sorted(self._counts.items())]

    @cached_property
    def _faces(self) -> dict[str, _Face]:
        which = {"faces": "coarse"}.get(self.options["images"], self.options["images"])
        folder = self.need(which or "faces")
        prefix = _PREFIX[folder.split("/")[-1]]
        out: dict[str, _Face] = {}
        self._counts: Counter[str] = Counter()
        for part in range(FOLDS):
            file = self.root / self.need(f"fold {part}")
            columns = ("user_id", "original_image", "face_id", "age")
            for where, row in read_rows(file, columns, delimiter="\t"):
                age = row["age"]
                if age in ("None", ""):
                    self._counts["without an age, left out"] += 1
                    continue
                if age not in _NUMBER:
                    raise DatasetError(
                        f"{where}, column age: found {age!r}, expected {', '.join(GROUPS)} or a "
                        "known stray label"
                    )
                self._counts["with a stray age, mapped to a group"] += age in _STRAY
                name = f"{row['face_id']}.{row['original_image']}"
                sample = f"{row['user_id']}/{name.rsplit('.', 1)[0]}"
                if sample in out:
                    # The first row counts: a face that is in two parts would be on both sides.
                    self._counts["for a face that an earlier row has, left out"] += 1
                    continue
                path = f"{folder}/{row['user_id']}/{prefix}.{name}"
                out[sample] = _Face(path, _NUMBER[age], part)
        return out

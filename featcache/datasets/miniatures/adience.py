"""Adience in small: faces of persons in five folds, aligned and not.

Also there, as in the archive: ages outside the eight groups, faces without an age, and a row that
stands twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.datasets.adience import FOLDS, GROUPS
from featcache.datasets.miniatures.pictures import face

if TYPE_CHECKING:
    from featcache.datasets.miniatures.draft import Draft

IMAGES, FEWEST, MOST = 160, FOLDS * len(GROUPS), 17_470
FACES_OF_A_PERSON = 2

# Group -> how an odd row writes it.
_STRAY = {0: "2", 2: "13", 3: "22", 4: "(25, 23)", 5: "(38, 48)", 6: "46", 7: "57"}
_EVERY = 13  # row of a fold is odd
_COLUMNS = (
    *("user_id", "original_image", "face_id", "age", "gender", "x", "y", "dx", "dy"),
    *("tilt_ang", "fiducial_yaw_angle", "fiducial_score"),
)


def draw(draft: Draft, name: str, images: int) -> dict[str, str]:
    """Draw ``images`` faces with an age, and one without."""
    del name
    for fold in range(FOLDS):
        rows = []
        numbers = range(fold, images, FOLDS)
        for place, number in enumerate(numbers):
            group = place % len(GROUPS)
            rows.append(_face(draft, fold, place, number, group, odd=place % _EVERY == _EVERY - 1))
        if fold == 0:
            row = _face(draft, fold, len(numbers), images, 0, odd=False)
            rows.append((*row[:3], "None", *row[4:]))
        if fold == 1:
            rows.append(rows[0])
        draft.table(f"fold_{fold}_data.txt", _COLUMNS, rows, delimiter="\t")
    return {}


def _face(
    draft: Draft, fold: int, place: int, number: int, group: int, *, odd: bool
) -> tuple[object, ...]:
    """Draw one face; return its row."""
    rng = draft.rng(number)
    youngest, oldest = (int(age) for age in GROUPS[group].strip("()").split(", "))
    pixels = face(rng, youngest + (oldest - youngest) * rng.random())
    person = fold * 10_000 + place // FACES_OF_A_PERSON
    user, image = f"{30_600_000 + person}@N0{fold}", f"{9_000_000_000 + number * 977}_o.jpg"
    draft.picture(f"aligned/{user}/landmark_aligned_face.{number}.{image}", pixels)
    draft.picture(f"faces/{user}/coarse_tilt_aligned_face.{number}.{image}", pixels)
    age = _STRAY.get(group, GROUPS[group]) if odd else GROUPS[group]
    return user, image, number, age, "fm"[number % 2], 0, 0, len(pixels), len(pixels), 0, 0, 100

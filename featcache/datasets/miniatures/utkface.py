"""UTKFace in small: faces with the age in the name.

Also there, as in the archives: ages that benchmarks leave out, a second folder with a part of the
same faces, and names that lack a field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.datasets.miniatures.pictures import face

if TYPE_CHECKING:
    from featcache.datasets.miniatures.draft import Draft

IMAGES, FEWEST, MOST = 200, 20, 16_434
YEARS = range(21, 61)  # those of the benchmark
_OTHERS = (1, 8, 16, 70, 85, 116)
_PER_YEAR = 5  # one of them is for the test
_AGAIN = 5  # faces that are in both folders
_LACKING = 50  # every such face has a name without the race


def draw(draft: Draft, name: str, images: int) -> dict[str, str]:
    """Draw ``images`` faces aged 21 to 60, and some beside."""
    del name
    years = min(len(YEARS), images // _PER_YEAR)
    ages = [YEARS[number % years * len(YEARS) // years] for number in range(images)]
    for number, age in enumerate([*ages, *_OTHERS]):
        pixels = face(draft.rng(number), age)
        race = "" if number % _LACKING == _LACKING - 1 else f"{number % 5}_"
        file = f"{age}_{number % 2}_{race}2017{1_160_000_000_000 + number:013d}.jpg.chip.jpg"
        for folder in ("UTKFace", "crop_part1") if number < _AGAIN else ("UTKFace",):
            draft.picture(f"{folder}/{file}", pixels)
    return {}

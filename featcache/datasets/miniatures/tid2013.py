"""TID2013 in small: 25 reference scenes, each with drawn distortions of five levels.

As in the archive, the case of names differs between the list and the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featcache.datasets.miniatures.pictures import SIZE, scene
from featcache.datasets.scenes import Look, compose, develop
from featcache.datasets.tid2013 import HIGHEST

if TYPE_CHECKING:
    from featcache.datasets.miniatures.draft import Draft

REFERENCES, LEVELS = 25, 5
# Number of a distortion in the archive -> field of a `Look`, and its change at the highest level.
_DISTORTIONS = {
    1: ("noise", 0.15),  # additive
    8: ("blur", 0.026),
    10: ("blocks", 0.3),  # as of JPEG
    16: ("exposure", 0.6),  # shift of the mean
    17: ("contrast", 0.7),
    18: ("saturation", 0.95),
}
_FROM_ONE = ("exposure", "contrast", "saturation")  # 1 changes nothing
IMAGES, FEWEST, MOST = 100, 50, REFERENCES * LEVELS * len(_DISTORTIONS)


def draw(draft: Draft, name: str, images: int) -> dict[str, str]:
    """Draw ``images`` distorted pictures: all references first, then the next distortion."""
    del name
    lines = []
    for reference in range(1, REFERENCES + 1):
        draft.picture(f"reference_images/I{reference:02d}.BMP", scene(draft.rng(reference)))
    for number in range(images):
        step, place = divmod(number, REFERENCES)
        reference = place + 1
        kind = list(_DISTORTIONS)[(step + place) % len(_DISTORTIONS)]
        level = 1 + (step // len(_DISTORTIONS) + 2 * step + place) % LEVELS
        rng = draft.rng(reference)
        image, _ = compose(rng, SIZE)
        strength = level / LEVELS
        field, worst = _DISTORTIONS[kind]
        amount = 1 - worst * strength if field in _FROM_ONE else worst * strength
        fields: dict[str, Any] = {field: amount}
        look = Look(**fields)
        lower = reference == REFERENCES
        stem = f"_{kind:02d}_{level}"
        file = f"{'i' if lower else 'I'}{reference:02d}{stem}.{'BMP' if lower else 'bmp'}"
        draft.picture(f"distorted_images/{file}", develop(image, look, rng))
        score = HIGHEST * (0.9 - 0.75 * strength) + 0.2 * (rng.random() - 0.5)
        lines.append(f"{score:.5f} I{reference:02d}{stem}.bmp")
    draft.lines("mos_with_names.txt", sorted(lines, key=lambda line: line.split()[1]))
    return {}

"""AVA in small: scenes that are vivid and clean, or pale and flawed, rated 1 to 10.

Also there, as with the real set: a line whose photograph is gone, one whose file is cut off, and an
id of the test list without ratings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.datasets.miniatures.pictures import flawed, ratings, scene

if TYPE_CHECKING:
    from featcache.datasets.miniatures.draft import Draft

IMAGES, FEWEST, MOST = 160, 20, 255_530
RATERS = 210
_TEST = 4  # every fourth is for the test


def draw(draft: Draft, name: str, images: int) -> dict[str, str]:
    """Draw ``images`` photographs, the last one cut off; one more has a line and no file."""
    del name
    lines = []
    ids = [953_619 + 7 * number for number in range(images + 1)]
    for number, image in enumerate(ids):
        rng = draft.rng(number)
        beauty = rng.random()
        look = flawed(rng, 0.3 + 0.7 * beauty, saturation=0.3 + 1.2 * beauty)
        pixels = scene(rng, look)
        counts = ratings(rng, 0.15 + 0.7 * beauty, raters=RATERS, grades=10)
        tags = rng.integers(0, 67, 2).tolist()
        lines.append(" ".join(map(str, (number + 1, image, *counts, *tags, 1396))))
        if number < images:
            draft.picture(f"images/{image}.jpg", pixels)
    last = draft.root / f"images/{ids[images - 1]}.jpg"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    test = [str(image) for number, image in enumerate(ids) if number % _TEST == _TEST - 1]
    draft.lines("AVA.txt", lines)
    draft.lines("aesthetics_image_lists/generic_test.jpgl", [*test, "77"])
    train = [str(image) for image in ids if str(image) not in set(test)]
    draft.lines("aesthetics_image_lists/generic_ls_train.jpgl", train)
    return {}

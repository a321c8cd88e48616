"""HCI in small: scenes on the films of five decades, at the place that the archive unpacks to."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from featcache.datasets.hci import DECADES
from featcache.datasets.miniatures.pictures import scene
from featcache.datasets.scenes import Look

if TYPE_CHECKING:
    from featcache.datasets.miniatures.draft import Draft

IMAGES, FEWEST, MOST = 100, 25, 1_325
FOLDER = "HistoricalColor-ECCV2012/data/imgs/decade_database"


def draw(draft: Draft, name: str, images: int) -> dict[str, int]:
    """Draw equally many photos of each decade, or one more of the first ones."""
    del name
    for number in range(images):
        decade = DECADES[number % len(DECADES)]
        rng = draft.rng(number)
        stem = hashlib.md5(f"{decade} {number}".encode(), usedforsecurity=False).hexdigest()
        pixels = scene(rng, Look(decade=int(decade[:4])))
        draft.picture(f"{FOLDER}/{decade}/decade_{stem}.jpg", pixels)
    # The split of the literature, 210 + 5 + 50, needs 265 of each decade.
    each = images // len(DECADES)
    test, val = each // 5, max(each // 50, 1)
    return {"train": each - test - val, "val": val, "test": test}

"""KonIQ-10k in small: scenes with blur, noise or blocks, rated by a hundred people.

Both tables are there, which use the same names for different things, and two pictures that nobody
has rated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.datasets.miniatures.pictures import (
    flawed,
    mean_rating,
    ratings,
    scene,
    spread_of,
)

if TYPE_CHECKING:
    from featcache.datasets.miniatures.draft import Draft

IMAGES, FEWEST, MOST = 120, 20, 10_073
RATERS = 100
_GRADES = (1.0, 2.0, 3.0, 4.0, 5.0)
_SETS = (*["training"] * 7, "validation", *["test"] * 2)
_UNRATED = 2
_COLUMNS = ("image_name", "c1", "c2", "c3", "c4", "c5", "c_total", "MOS", "SD")


def draw(draft: Draft, name: str, images: int) -> dict[str, str]:
    """Draw ``images`` rated pictures: seven, one and two of ten for the three parts."""
    del name
    sets, scores = [], []
    for number in range(images + _UNRATED):
        rng = draft.rng(number)
        quality = rng.random()
        file = f"{10_004_473_376 + 1_131 * number}.jpg"
        draft.picture(f"1024x768/{file}", scene(rng, flawed(rng, quality)))
        if number >= images:
            continue
        counts = ratings(rng, quality, raters=RATERS, grades=5)
        mean, spread = mean_rating(counts, _GRADES), spread_of(counts, _GRADES)
        scaled = f"{25 * (mean - 1):.2f}"  # on 0 ... 100
        shares = [f"{count / RATERS:.2f}" for count in counts]
        part = _SETS[number % len(_SETS)]
        sets.append((file, *shares, RATERS, scaled, f"{spread:.2f}", part))
        scores.append((file, *counts, RATERS, f"{mean:.2f}", f"{spread:.2f}", scaled))
    draft.table("koniq10k_distributions_sets.csv", (*_COLUMNS, "set"), sets)
    draft.table("koniq10k_scores_and_distributions.csv", (*_COLUMNS, "MOS_zscore"), scores)
    return {}

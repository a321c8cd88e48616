"""PARA in small: scenes rated for aesthetics, in halves from 1 to 5, and for quality."""

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

IMAGES, FEWEST, MOST = 100, 10, 31_220
RATERS = 25
_GRADES = tuple(half / 2 for half in range(2, 11))
_PER_SESSION = 20
_TEST = 5  # every fifth is for the test
_COLUMNS = (
    *("imageName", "sessionId", "semantic"),
    *(f"aestheticScore_{grade:.1f}" for grade in _GRADES),
    *("aestheticScore_mean", "aestheticScore_std", "qualityScore_mean", "qualityScore_std"),
)


def draw(draft: Draft, name: str, images: int) -> dict[str, str]:
    """Draw ``images`` photos, twenty in a session."""
    del name
    rows: dict[str, list[tuple[object, ...]]] = {"Train": [], "Test": []}
    for number in range(images):
        rng = draft.rng(number)
        quality, vivid = rng.random(), rng.random()
        look = flawed(rng, quality, saturation=0.2 + 1.4 * vivid)
        session, file = f"session{number // _PER_SESSION + 1}", f"iaa_pub{number + 1}_.jpg"
        draft.picture(f"imgs/{session}/{file}", scene(rng, look))
        counts = ratings(rng, 0.5 * quality + 0.5 * vivid, raters=RATERS, grades=len(_GRADES))
        marks = ratings(rng, quality, raters=RATERS, grades=len(_GRADES))
        means = [
            f"{value:.2f}"
            for one in (counts, marks)
            for value in (mean_rating(one, _GRADES), spread_of(one, _GRADES))
        ]
        part = "Test" if number % _TEST == _TEST - 1 else "Train"
        rows[part].append((file, session, "scene", *counts, *means))
    for part, lines in rows.items():
        draft.table(f"annotation/PARA-Giaa{part}.csv", _COLUMNS, lines)
    return {}

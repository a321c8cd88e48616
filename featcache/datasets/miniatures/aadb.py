"""AADB in small: three lists of scores; the names of the test's photos begin with theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.datasets.miniatures.pictures import flawed, scene

if TYPE_CHECKING:
    from featcache.datasets.miniatures.draft import Draft

IMAGES, FEWEST, MOST = 100, 20, 9_958
_PARTS = (*["Train"] * 7, "Validation", *["TestNew"] * 2)
_LIST = "imgListFiles_label/imgList{}Regression_score.txt"


def draw(draft: Draft, name: str, images: int) -> dict[str, str]:
    """Draw ``images`` photos: seven, one and two of ten for the three lists."""
    del name
    lists: dict[str, list[str]] = {part: [] for part in _PARTS}
    for number in range(images):
        rng = draft.rng(number)
        beauty = rng.random()
        look = flawed(rng, 0.3 + 0.7 * beauty, saturation=0.3 + 1.2 * beauty)
        part = _PARTS[number % len(_PARTS)]
        score = f"{0.05 * round(20 * beauty):.2f}"
        file = f"farm1_{262 + number}_{20_009_074_919 + 31 * number}_cdd9c88d5f.jpg"
        if part == "TestNew":
            file = f"{float(score):.3f}_{file}"
            draft.picture(f"AADB_newtest_originalSize/{file}", scene(rng, look))
        else:
            draft.picture(f"datasetImages_originalSize/{file}", scene(rng, look))
        lists[part].append(f"{file} {score}")
    for part, lines in lists.items():
        draft.lines(_LIST.format(part), lines)
    return {}

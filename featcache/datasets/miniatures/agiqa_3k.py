"""AGIQA-3k in small: five pictures of each prompt, as flawed and as faithful as a generator may be.

A prompt asks for some solids. How many of them are there is the alignment; blur, noise or blocks
are the quality.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featcache.datasets.miniatures.pictures import DEFECTS, Solid, arrange, flawed
from featcache.datasets.scenes import COLORS, SHAPES, develop

if TYPE_CHECKING:
    from featcache.datasets.miniatures.draft import Draft

IMAGES, FEWEST, MOST = 100, 25, 2_982
_GENERATORS = ("AttnGAN", "DALLE2", "glide", "midjourney", "xl2.2")
_NUMBERS = ("one", "two", "three", "four", "five", "six")
_STYLES = ("abstract style", "anime style", "realistic style")
_COLUMNS = (
    *("name", "prompt", "adj1", "adj2", "style"),
    *("mos_quality", "std_quality", "mos_align", "std_align"),
)


def draw(draft: Draft, name: str, images: int) -> dict[str, str]:
    """Draw ``images`` pictures, five of a prompt."""
    del name
    rows = []
    for number in range(images):
        prompt, maker = divmod(number, len(_GENERATORS))
        asked = draft.rng(1_000_000 + prompt)
        count = int(asked.integers(2, len(_NUMBERS) + 1))
        color = list(COLORS)[int(asked.integers(len(COLORS)))]
        shape = SHAPES[int(asked.integers(len(SHAPES)))]
        rng = draft.rng(number)
        shown = int(rng.integers(count + 1))
        others = [c for c in COLORS if c != color]
        solids = [Solid(color, shape)] * shown
        solids += [
            Solid(others[int(rng.integers(len(others)))], shape) for _ in range(count - shown)
        ]
        quality = rng.random()
        pixels, _ = arrange(rng, solids)
        look = flawed(rng, quality)
        file = f"{_GENERATORS[maker]}_normal_{prompt:03d}.jpg"
        draft.picture(f"AGIQA-3K/{file}", develop(np.asarray(pixels / 255), look, rng))
        text = f"{_NUMBERS[count - 1]} {color} {shape}s"
        defect = next((kind for kind in DEFECTS if getattr(look, kind)), "")
        rows.append(
            (
                *(file, text, defect, "", _STYLES[prompt % len(_STYLES)]),
                *(f"{5 * quality:.4f}", 0.2, f"{5 * shown / count:.4f}", 0.2),
            )
        )
    draft.table("data.csv", _COLUMNS, rows)
    return {}

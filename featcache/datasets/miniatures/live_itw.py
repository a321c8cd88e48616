"""LIVE In the Wild in small: lists of MATLAB, whose first seven images trained the raters."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.datasets.live_itw import TRAINING_IMAGES
from featcache.datasets.miniatures.pictures import flawed, scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from featcache.datasets.miniatures.draft import Draft

IMAGES, FEWEST, MOST = 100, 10, 1_162
ROOT = "ChallengeDB_release"
_HEADER = 116  # bytes of text at the beginning of a file of MATLAB, which tell when it was made


def draw(draft: Draft, name: str, images: int) -> dict[str, str]:
    """Draw ``images`` photos and the seven others."""
    del name
    names, scores = [], []
    for number in range(TRAINING_IMAGES + images):
        rng = draft.rng(number)
        quality = rng.random()
        training = number < TRAINING_IMAGES
        place = number - TRAINING_IMAGES + 3  # the real ones begin with 3.bmp
        file = f"t{number + 1}.bmp" if training else f"{place}.{'JPG' if place % 9 == 0 else 'bmp'}"
        folder = "Images/trainingImages" if training else "Images"
        draft.picture(f"{ROOT}/{folder}/{file}", scene(rng, flawed(rng, quality)))
        names.append(file)
        scores.append(round(5 + 87 * quality, 4))
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    _write_matlab(draft, "AllImages_release", cells)
    _write_matlab(draft, "AllMOS_release", np.array([scores]))
    _write_matlab(draft, "AllStdDev_release", np.full((1, len(scores)), 18.0))
    return {}


def _write_matlab(draft: Draft, variable: str, value: NDArray[Any]) -> None:
    from scipy.io import savemat

    content = io.BytesIO()
    target: Any = content  # its stubs know paths alone
    savemat(target, {variable: value})
    text = b"MATLAB 5.0 MAT-file, drawn stand-in".ljust(_HEADER)
    draft.content(f"{ROOT}/Data/{variable}.mat", text + content.getvalue()[_HEADER:])

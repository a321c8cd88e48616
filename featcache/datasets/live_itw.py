"""LIVE In the Wild (LIVE Challenge, CLIVE): quality of photographs from phones.

``Data/AllImages_release.mat``, ``AllMOS_release.mat`` and ``AllStdDev_release.mat`` list 1,169
images in one order. The first seven served to train the raters, lie in ``Images/trainingImages``
and are no part of the set of 1,162: so the release's readme, and so the ``LIVEChallengeFolder``
that many repositories share, which takes entries 8 to 1,169. Scores are on 0 ... 100. There is no
official split; ours is four fifths for training, by seed, ten times, as the literature does.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from featcache.datasets.base import (
    SEEDED_OPTIONS,
    Dataset,
    DatasetInfo,
    ImageRecord,
    Label,
    Part,
)
from featcache.datasets.queries import quality
from featcache.errors import DatasetError
from featcache.wording import quantity

if TYPE_CHECKING:
    from featcache.datasets.splits import Fold

TRAINING_IMAGES = 7


class LiveItw(Dataset):
    """The release of the LIVE In the Wild Image Quality Challenge Database."""

    info = DatasetInfo(
        name="live-itw",
        title="LIVE In the Wild",
        task="mean opinion score of quality",
        num_images=1_162,
        license="free for any purpose, with copyright notice and citation (its readme)",
        source="the Laboratory for Image and Video Engineering, UT Austin: LIVE Challenge page",
        layout=(
            "ROOT/                                  or ChallengeDB_release/ in it\n"
            "  Images/*.bmp, *.JPG\n"
            "  Data/AllImages_release.mat\n"
            "  Data/AllMOS_release.mat"
        ),
        options=SEEDED_OPTIONS,
    )
    parts = (
        Part(what="images", places=("Images", "*/Images", "*/*/Images")),
        *(
            Part(
                what=what,
                places=tuple(f"{prefix}Data/{name}" for prefix in ("", "*/", "*/*/")),
            )
            for what, name in (
                ("names", "AllImages_release.mat"),
                ("scores", "AllMOS_release.mat"),
            )
        ),
    )

    def annotated(self) -> list[ImageRecord]:
        """List the 1,162 images; the id is the file's stem."""
        folder = self.need("images")
        return [ImageRecord(PurePosixPath(name).stem, f"{folder}/{name}") for name in self._scores]

    def annotations(self) -> list[Label]:
        """One mean opinion score per image."""
        return [
            Label(PurePosixPath(name).stem, "quality", quality(), value, "all")
            for name, value in self._scores.items()
        ]

    def published_folds(self, samples: list[str]) -> list[Fold]:
        """Give the seeded splits."""
        return self.seeded_folds(samples)

    @cached_property
    def _scores(self) -> dict[str, float]:
        names = self._read("names", "AllImages_release")
        scores = self._read("scores", "AllMOS_release")
        if len(names) != len(scores) or len(names) <= TRAINING_IMAGES:
            raise DatasetError(
                f"{self.root}: found {quantity(len(names), 'name')} and "
                f"{quantity(len(scores), 'score')}, "
                "expected 1,169 of each"
            )
        pairs = zip(names, scores, strict=True)
        return {str(name): float(str(score)) for name, score in list(pairs)[TRAINING_IMAGES:]}

    def _read(self, what: str, variable: str) -> list[object]:
        """Read a MATLAB variable as a flat list of texts or numbers."""
        from scipy.io import loadmat

        file = self.root / self.need(what)
        try:
            # Cells of text come as arrays of one text each; squeezing leaves the text itself.
            content = loadmat(file, squeeze_me=True, variable_names=[variable])
            return [item.item() if hasattr(item, "item") else item for item in content[variable]]
        except (KeyError, ValueError, TypeError, NotImplementedError, OSError) as error:
            raise DatasetError(
                f"{file}: expected the MATLAB variable {variable}: {error!r}"
            ) from error

"""Historical Color Images: photographs of five decades.

265 photographs of each decade from the 1930s to the 1970s. The archive unpacks to
``HistoricalColor-ECCV2012/data/imgs/decade_database/1930s/*.jpg`` (so read by ayrna/dlordinal,
``dlordinal/datasets/hci.py``, among others); a folder ``decades`` is accepted too. Labels are 0
for the 1930s to 4 for the 1970s.

There is no official split. As in the literature (Ord2Seq; the paper's baselines), 210 photographs
of each decade are for training, 5 for validation and 50 for the test, ten times; which ones was
never published, so ours are seeded. The paper's authors released one of 212 and 53 per decade,
``examples/HCI-split.json``; its ids are file stems, all of which are in L2RCLIP's lists
(raywang335/L2RCLIP, ``datalist/hci``), where each name also begins with the decade.
"""

from __future__ import annotations

from featcache.datasets.base import (
    SPLIT_FILE,
    Dataset,
    DatasetInfo,
    ImageRecord,
    Label,
    Option,
    Part,
    is_image,
)
from featcache.datasets.queries import DATE
from featcache.datasets.splits import Fold, stratified_split
from featcache.errors import DatasetError

DECADES = ("1930s", "1940s", "1950s", "1960s", "1970s")


class Hci(Dataset):
    """The decade database of HistoricalColor-ECCV2012."""

    info = DatasetInfo(
        name="hci",
        title="Historical Color Images (HCI)",
        task="decade of a photograph, 0 ... 4",
        num_images=1_325,
        license="not stated; photographs collected from the web for research",
        source="the historicalColor project page (Palermo, Hays, Efros; CMU)",
        layout=(
            "ROOT/\n"
            "  HistoricalColor-ECCV2012/data/imgs/decade_database/\n"
            "    1930s/*.jpg  1940s/*.jpg  1950s/*.jpg  1960s/*.jpg  1970s/*.jpg"
        ),
        options={
            "folds": Option(help="number of seeded splits", kind=int, default=10),
            "seed": Option(help="seed of the splits", kind=int, default=0),
            "train": Option(help="training images per decade", kind=int, default=210),
            "val": Option(help="validation images per decade", kind=int, default=5),
            "test": Option(help="test images per decade", kind=int, default=50),
            "split_file": SPLIT_FILE,
        },
    )
    parts = tuple(
        Part(
            what=decade,
            places=tuple(
                f"{prefix}{decade}"
                for prefix in (
                    "HistoricalColor-ECCV2012/data/imgs/decade_database/",
                    "HistoricalColor-ECCV2012/data/imgs/decades/",
                    "data/imgs/decade_database/",
                    "data/imgs/decades/",
                    "decade_database/",
                    "decades/",
                    "",
                )
            ),
        )
        for decade in DECADES
    )

    def annotated(self) -> list[ImageRecord]:
        """List the photographs, decade by decade; the id is ``DECADE/STEM``."""
        return [
            ImageRecord(f"{decade}/{_stem(name)}", f"{folder}/{name}")
            for decade, folder in ((decade, self.need(decade)) for decade in DECADES)
            for name in sorted(entry.name for entry in (self.root / folder).iterdir())
            if is_image(name)
        ]

    def annotations(self) -> list[Label]:
        """One label per photograph."""
        return [
            Label(
                record.sample_id,
                "decade",
                DATE,
                float(DECADES.index(record.sample_id.split("/")[0])),
                "all",
            )
            for record in self.annotated()
        ]

    def published_folds(self, samples: list[str]) -> list[Fold]:
        """Give the seeded splits of each decade."""
        strata = {sample: sample.split("/")[0] for sample in samples}
        parts = {part: self.options[part] for part in ("train", "val", "test")}
        if min(parts.values()) < 0 or self.options["folds"] < 1:
            raise DatasetError(f"found {parts} in {self.options['folds']} folds; expected counts")
        return [
            stratified_split(strata, parts, seed=self.options["seed"], fold=fold)
            for fold in range(self.options["folds"])
        ]

    def split_key(self, sample_id: str) -> str:
        """Return the file's stem, without the decade that L2RCLIP's copies begin with."""
        decade, stem = sample_id.split("/", 1)
        return stem.removeprefix(f"{decade}_")


def _stem(name: str) -> str:
    return name.rsplit(".", 1)[0]

"""The values that readers hand over: images, labels, what is known of a data set, a check."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from featcache.datasets.stand_in import NOTICE
from featcache.errors import DatasetError
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

SPLITS = ("train", "val", "test", "all")

# Squares and sums of labels must be finite in float64, and nobody's unit is as small as this asks.
LARGEST_VALUE = 1e30

# 100 patch tokens x 768 channels x 2 bytes: ConvNeXt-L at 320 px in float16.
BYTES_PER_VIEW = 153_600


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image: an id that is unique in the data set, and its POSIX path below the root."""

    sample_id: str
    path: str


@dataclass(frozen=True, slots=True)
class Label:
    """One value of one image for one query.

    ``fold`` is the number of the split, not of the part: "in fold 3 this label is for training".
    ``None`` holds for every fold. ``distribution`` is the share of each rating, where known.
    """

    sample_id: str
    task: str
    query: str
    value: float
    split: str
    fold: int | None = None
    distribution: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a reader, as ``--option name=value`` gives it.

    Attributes:
        help: One sentence for the user.
        kind: ``str``, ``int``, ``float`` or ``bool``; text is converted to it.
        default: The value when the option is not given.
        choices: What the value may be; empty for anything of its kind.
    """

    help: str
    kind: type = str
    default: Any = None
    choices: tuple[Any, ...] = ()

    def parse(self, name: str, value: Any) -> Any:
        """Convert ``value`` to the option's kind; raises DatasetError when it is not one."""
        expected = " or ".join(map(str, self.choices)) or f"a value of type {self.kind.__name__}"
        if isinstance(value, str) and (self.choices or self.kind is not str):
            value = value.strip()
        try:
            if self.kind is bool and isinstance(value, str):
                parsed: Any = {"true": True, "false": False, "1": True, "0": False}[value.lower()]
            else:
                parsed = self.kind(value)
        except (KeyError, ValueError, TypeError) as error:
            raise DatasetError(f"option {name}: found {value!r}, expected {expected}") from error
        if self.choices and parsed not in self.choices:
            raise DatasetError(f"option {name}: found {value!r}, expected {expected}")
        return parsed


SPLIT_FILE = Option(
    help="JSON with the ids of other splits: {train_id: [...], test_id: [...]}, or a list of them"
)


# Of data sets without an official split; see ``Dataset.seeded_splits``.
SEEDED_OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "folds": Option(help="number of seeded splits", kind=int, default=10),
        "seed": Option(help="seed of the splits", kind=int, default=0),
        "split_file": SPLIT_FILE,
    }
)


@dataclass(frozen=True, kw_only=True)
class DefaultBackbone:
    """What `featcache extract` takes where no backbone is named: values of its options.

    Attributes:
        name: ``--backbone``.
        pretrained: ``--pretrained``.
        token_pool: ``--token-pool``.
        views: ``--views``.
    """

    name: str = ""
    pretrained: str = ""
    token_pool: int = 1
    views: tuple[str, ...] = ("original",)


# For drawn pictures: trained on such scenes, nothing to download, and quick on a CPU.
DRAWN_BACKBONE = DefaultBackbone(name="drawn-scenes-clip", views=("original", "hflip"))


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What a user must know before downloading or extracting a data set.

    Attributes:
        name: The name on the command line.
        title: The name in print.
        task: What its labels say, in a few words.
        num_images: Images with labels in the whole set; ``None`` where it depends on the user.
        license: The terms, as far as the publishers state them.
        source: Whom to ask for the data.
        layout: The expected folder, as a small drawing.
        options: The reader's options.
        backbone: What extracts it where no backbone is named.
        color: ``--color`` where nothing is said: ``stored``, as the code of the papers reads
            images, or ``srgb`` for people's photos.
        drawn: Whether the images are drawn into a folder that is absent or empty.
    """

    name: str
    title: str
    task: str
    num_images: int | None
    license: str
    source: str
    layout: str
    options: Mapping[str, Option] = field(
        default_factory=lambda: MappingProxyType({"split_file": SPLIT_FILE})
    )
    backbone: DefaultBackbone = field(default_factory=DefaultBackbone)
    color: Literal["stored", "srgb"] = "stored"
    drawn: bool = False

    def cache_bytes(self, views: int = 1) -> int | None:
        """Bytes of patch tokens for ``views`` views of all images; ``None`` if not known."""
        return None if self.num_images is None else cache_bytes(self.num_images, views)


def cache_bytes(num_images: int, views: int = 1, per_view: int = BYTES_PER_VIEW) -> int:
    """Bytes of patch tokens: by default 153,600 per image and view (100 x 768 float16)."""
    return num_images * views * per_view


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file or folder of a data set, and where below the root it may lie.

    Attributes:
        what: Its name in messages.
        places: Glob patterns, POSIX, relative to the root; the first that matches counts.
        needed: Without it nothing can be read.
    """

    what: str
    places: tuple[str, ...]
    needed: bool = True


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What ``check`` found. Counts are of images and label rows.

    Attributes:
        dataset: Name of the data set.
        root: The folder that was checked.
        found: Parts that are there, with their place.
        missing: Parts that are needed and are not there, with the places that were tried.
        num_images: Images that the set's files name and that are on the disk.
        num_labels: Labels of those images.
        images_missing: Images that the set's files name and that are not on the disk.
        images_extra: Images beside the others that the set's files do not name.
        images_unlabeled: Images found that have no label.
        leaks: Images, persons or scenes on two sides of one split.
        notes: What is worth knowing and no reason to stop: stray labels, duplicate rows.
        problems: What is not as documented.
        layout: The expected layout.
        stand_in: Whether the images were drawn in the data set's place.
    """

    dataset: str
    root: str
    found: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    num_images: int = 0
    num_labels: int = 0
    images_missing: int = 0
    images_extra: int = 0
    images_unlabeled: int = 0
    leaks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    layout: str = ""
    stand_in: bool = False

    @property
    def ok(self) -> bool:
        """Everything needed is there, and some images were found."""
        return not self.missing and not self.problems and self.num_images > 0

    def lines(self) -> list[str]:
        """Return the report as lines of plain text."""
        out = [f"{self.dataset} in {self.root}"]
        out += [NOTICE] if self.stand_in else []
        out += [f"found: {item}" for item in self.found]
        out += [f"missing: {item}" for item in self.missing]
        out += [f"problem: {item}" for item in self.problems]
        if not self.missing:
            out.append(
                f"{quantity(self.num_images, 'image')} with {quantity(self.num_labels, 'label')}; "
                f"{quantity(self.images_unlabeled, 'image')} without a label, "
                f"{self.images_missing:,} named but not on the disk, "
                f"{self.images_extra:,} on the disk but not named"
            )
        out += [f"note: {item}" for item in self.notes]
        out += [f"leak: {item}" for item in self.leaks]
        if not self.ok:
            out += ["expected layout:", *(f"  {line}" for line in self.layout.splitlines())]
        return out

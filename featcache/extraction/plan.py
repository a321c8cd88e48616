"""The plan of an extraction: its settings, and the shards that it makes of a new data set.

Shard k holds the images k * shard_size ... of the data set, whichever of them fail. So a shard's
bytes do not depend on where an earlier run stopped, and several machines can make every n-th
shard each (``part``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from featcache.configuration import Configuration
from featcache.datasets.columns import ImageRecords, check_images, images_of
from featcache.datasets.stand_in import WORDS
from featcache.errors import (
    ConfigError,
    DatasetError,
    FeatcacheError,
    FingerprintMismatchError,
)
from featcache.extraction.parts import listing_digest
from featcache.images.preprocess import Preprocessing
from featcache.storage.entries import Part
from featcache.storage.fingerprint import Fingerprint, require_same
from featcache.storage.layout import (
    DEFAULT_SHARD_SIZE,
    PLANNED,
    DType,
    Shapes,
    View,
    folder_exists,
    shard_numbers,
)
from featcache.storage.manifest import Manifest
from featcache.versions import versions
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from featcache.backbone import Backbone
    from featcache.datasets.base import Dataset, DatasetInfo, ImageRecord


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(Configuration):
    """How features are made and stored.

    Attributes:
        views: Which views are stored, ``original`` first.
        dtype: How tokens are stored.
        batch_size: Images per forward pass. It may change the last bits of features. None takes
            the largest number that the GPU holds, see ``batch_size.py``.
        workers: Threads that decode images; 0 for one per CPU core, 32 at most.
        shard_size: Planned images per shard.
        limit: Take only this number of images, from the start of the data set; None for all.
        max_failures: Share of all images, from 0 to 1, that may fail; the run stops above it.
        prompts: Prompts to encode, in addition to those of the labels.
        part: (i, n) with i from 1 to n: make only every n-th shard, beginning with the i-th. Each
            of n machines makes a part in its own folder, and `featcache.maintenance.merge` joins
            the parts.
        name: The name of the cache; None keeps its present name, or takes the data set's name.
    """

    _title: ClassVar[str] = "extraction settings"

    views: tuple[View, ...] = ("original",)
    dtype: DType = "float16"
    batch_size: int | None = 32
    workers: int = 0
    shard_size: int = DEFAULT_SHARD_SIZE
    limit: int | None = None
    max_failures: float = 0.25
    prompts: tuple[str, ...] = ()
    part: tuple[int, int] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        self._require_at_least(1, "batch_size", "shard_size", "limit")
        self._require_at_least(0, "workers")
        if not self.views or len(set(self.views)) < len(self.views):
            raise ConfigError(f"views must be one or more different names, not {self.views}")
        if not 0 <= self.max_failures <= 1:
            raise ConfigError(f"max_failures is a share from 0 to 1, not {self.max_failures}")
        if self.name is not None and not (self.name.strip() and self.name.isprintable()):
            raise ConfigError(f"name must be printable text in one line, not {self.name!r}")
        if self.part is not None and not 1 <= self.part[0] <= self.part[1]:
            raise ConfigError(
                f"part is I/N with I from 1 to N, not {'/'.join(map(str, self.part))}"
            )


def checked_images(images: Sequence[ImageRecord]) -> ImageRecords:
    """Refuse ids that a cache cannot hold; the images come back as a table that reads alike."""
    table = images_of(images)
    check_images(table)
    return ImageRecords(table)


def source_of(dataset: Dataset) -> dict[str, Any]:
    """Return a data set's name and options as JSON values, and whether it is a drawn stand-in."""
    options = {k: str(v) if isinstance(v, Path) else v for k, v in dataset.options.items()}
    given = {name: value for name, value in options.items() if value is not None}
    source: dict[str, Any] = {"name": dataset.info.name, "options": given}
    return {**source, "stand_in": True} if dataset.stand_in else source


def plan_manifest(
    dataset: Dataset, backbone: Backbone, config: ExtractConfig, images: Sequence[ImageRecord] = ()
) -> Manifest:
    """Return the manifest of an extraction that has not begun, of the planned images."""
    return Manifest(
        dataset=source_of(dataset),
        fingerprint=Fingerprint(
            backbone=backbone.identity,
            preprocessing=backbone.preprocessing.to_dict(),
            views=config.views,
            dtype=config.dtype,
        ),
        shapes=Shapes.of(backbone),
        shard_size=config.shard_size,
        backbone=backbone.spec.to_dict(),
        provenance={
            **versions("featcache", "torch", "open_clip_torch", "pillow"),
            "precision": backbone.precision,
            "batch_size": config.batch_size,
        },
        part=Part(
            index=config.part[0],
            count=config.part[1],
            images=len(images),
            listing=listing_digest(images),
        )
        if config.part
        else None,
        name=config.name or "",
    )


def color_for(dataset: DatasetInfo, out: Path | None, given: str = "") -> str:
    """Return how colors are read: as given, else as in the cache that is there, else as is usual.

    A cache that was begun before there was a choice goes on as it was begun.

    Args:
        dataset: What is extracted.
        out: The cache's folder; None where there is none yet.
        given: ``--color``, or empty.
    """
    if given or out is None or not folder_exists(out):
        return given or dataset.color
    there = Manifest.read(out).fingerprint.preprocessing
    return str(Preprocessing.from_dict(there).color)


def resumed_manifest(out: Path, manifest: Manifest) -> Manifest:
    """Return the manifest to go on with: that of the folder where it holds the same features.

    How the data set and the backbone were asked for is what was asked for last: labels come from
    there, and paths may have changed.
    """
    if not folder_exists(out):
        if numbers := shard_numbers(out):
            raise FeatcacheError(
                f"{out} holds {quantity(len(numbers), 'shard')} but no cache.json; rebuild it with "
                f"`featcache repair {out}`, or choose another --out"
            )
        return manifest
    there = Manifest.read(out)
    require_same(there.fingerprint, manifest.fingerprint, f"the cache {out}", "this extraction")
    if there.dataset["name"] != manifest.dataset["name"]:
        raise DatasetError(
            f"{out} holds the data set {there.dataset['name']}, not {manifest.dataset['name']}; "
            "choose another --out"
        )
    if there.stand_in != manifest.stand_in:
        held = f"a {WORDS} of {there.dataset['name']}" if there.stand_in else "the real data set"
        raise DatasetError(f"{out} holds {held}, and these images are not; choose another --out")
    if there.shard_size != manifest.shard_size:
        raise FingerprintMismatchError(
            f"{out} has {quantity(there.shard_size, 'image')} per shard, this extraction "
            f"{manifest.shard_size}; give --shard-size {there.shard_size}, or a new --out"
        )
    if str(there.part) != str(manifest.part):
        raise FeatcacheError(
            f"{out} holds {f'part {there.part}' if there.part else 'a whole cache'}, this "
            f"extraction makes {f'part {manifest.part}' if manifest.part else 'a whole cache'}; "
            "each part needs a folder of its own"
        )
    part = manifest.part
    if part and there.part and (out / PLANNED).exists():
        part = replace(part, images=there.part.images)  # as all parts have planned it
    return replace(there.current(), part=part, dataset=manifest.dataset, backbone=manifest.backbone)


def split_chunks(
    images: Sequence[ImageRecord], size: int, part: Part | None = None
) -> dict[int, Sequence[ImageRecord]]:
    """Split the planned images into those of each shard; of a part, only its own shards."""
    chunks = {n: images[n * size : (n + 1) * size] for n in range(-(-len(images) // size))}
    return {number: chunk for number, chunk in chunks.items() if not part or part.has(number)}

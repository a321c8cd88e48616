"""The plan of an extraction: its settings, the shards it makes, and which of them are there.

Shard k holds the images k * shard_size ... of the data set, whichever of them fail. So a shard's
bytes do not depend on where an earlier run stopped, and several machines can make every n-th
shard each (``part``).

What an earlier run left in the folder is kept where it belongs to the plan, refused where it is of
other features or images, and made again where it is damaged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from featcache.configuration import Configuration
from featcache.datasets.columns import ImageRecords, check_images, images_of
from featcache.errors import (
    CacheFormatError,
    ConfigError,
    DatasetError,
    FeatcacheError,
    FingerprintMismatchError,
)
from featcache.storage.fingerprint import Fingerprint, require_same
from featcache.storage.layout import (
    DEFAULT_SHARD_SIZE,
    DType,
    Shapes,
    View,
    folder_exists,
    shard_name,
    shard_numbers,
)
from featcache.storage.manifest import FileEntry, Manifest, Part
from featcache.storage.shard import SampleRecord, ShardIndex, mismatches, open_shard_of
from featcache.versions import versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from featcache.backbone import Backbone
    from featcache.datasets.base import Dataset, ImageRecord


@dataclass(frozen=True, kw_only=True)
class ExtractConfig(Configuration):
    """How features are made and stored.

    Attributes:
        views: Which views are stored, ``original`` first.
        dtype: How tokens are stored.
        batch_size: Images per forward pass (provenance: it may change the last bits).
        workers: Decoding threads; 0 for one per processor, 32 at most.
        shard_size: Planned images per shard.
        limit: Only the first images of the data set; None for all.
        max_failures: Share of all images, from 0 to 1, that may fail; above it the run stops.
        prompts: Prompts to encode beside those of the labels.
        part: (i, n) with i from 1 to n: make only every n-th shard, from the i-th. The parts of n
            machines, each in a folder of its own, are put together by
            `featcache.maintenance.merge`.
        name: What the cache is called; None for the data set's name, or the one that it has.
    """

    _title: ClassVar[str] = "extraction settings"

    views: tuple[View, ...] = ("original",)
    dtype: DType = "float16"
    batch_size: int = 32
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
    """Return a data set's name and the options that it was given, as JSON values."""
    options = {k: str(v) if isinstance(v, Path) else v for k, v in dataset.options.items()}
    given = {name: value for name, value in options.items() if value is not None}
    return {"name": dataset.info.name, "options": given}


def plan_manifest(
    dataset: Dataset, backbone: Backbone, config: ExtractConfig, images: int = 0
) -> Manifest:
    """Return the manifest of an extraction that has not begun, of so many planned images."""
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
        part=Part(index=config.part[0], count=config.part[1], images=images)
        if config.part
        else None,
        name=config.name or "",
    )


def resumed_manifest(out: Path, manifest: Manifest) -> Manifest:
    """Return the manifest to go on with: that of the folder where it holds the same features.

    How the data set and the backbone were asked for is what was asked for last: labels come from
    there, and paths may have changed.
    """
    if not folder_exists(out):
        if numbers := shard_numbers(out):
            raise FeatcacheError(
                f"{out} holds {len(numbers)} shards but no cache.json; rebuild it with "
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
    if there.shard_size != manifest.shard_size:
        raise FingerprintMismatchError(
            f"{out} has {there.shard_size} images per shard, this extraction "
            f"{manifest.shard_size}; give --shard-size {there.shard_size}, or a new --out"
        )
    if str(there.part) != str(manifest.part):
        raise FeatcacheError(
            f"{out} holds {f'part {there.part}' if there.part else 'a whole cache'}, this "
            f"extraction makes {f'part {manifest.part}' if manifest.part else 'a whole cache'}; "
            "each part needs a folder of its own"
        )
    return replace(
        there.current(), part=manifest.part, dataset=manifest.dataset, backbone=manifest.backbone
    )


def split_chunks(
    images: Sequence[ImageRecord], size: int, part: Part | None = None
) -> dict[int, Sequence[ImageRecord]]:
    """Split the planned images into those of each shard; of a part, only its own shards."""
    chunks = {n: images[n * size : (n + 1) * size] for n in range(-(-len(images) // size))}
    return {number: chunk for number, chunk in chunks.items() if not part or part.has(number)}


class Kept(NamedTuple):
    """A shard of an earlier run."""

    records: list[SampleRecord]
    entry: FileEntry


def finished_shards(
    out: Path, manifest: Manifest, chunks: Mapping[int, Sequence[ImageRecord]]
) -> dict[int, Kept]:
    """Return the finished shards of an earlier run, and refuse those of other images.

    Shards that cache.json does not describe yet are compared with their own digests, so that
    what is described has been read and is intact. Not finished are damaged shards, and a last one
    that holds the beginning of its chunk: the data set, or ``limit``, has grown.
    """
    kept = {}
    present = shard_numbers(out)
    for number in present:
        entry = manifest.files.get(shard_name(number))
        try:
            shard = _open_planned(out, manifest, number)
            records = shard.records()
        except CacheFormatError:
            continue  # made again, like one that was never written
        found = [(record.sample_id, record.path) for record in records]
        planned = [(image.sample_id, image.path) for image in chunks.get(number, ())]
        if found == planned:
            # Where no image at all was readable, they are tried again: nothing is lost by it.
            if shard.num_rows and (entry or not shard.damaged_rows()):
                kept[number] = Kept(records, entry or FileEntry.of(shard.path, shard.num_rows))
        elif found != planned[: len(found)] or number != present[-1]:
            first = next((f for f, p in zip(found, planned, strict=False) if f != p), found[-1:])
            raise DatasetError(
                f"{shard.path} holds other images than the data set now lists in its place "
                f"(first difference: {first}); the data set has changed, or --limit is smaller: "
                "extract into a new folder"
            )
    return kept


def _open_planned(out: Path, manifest: Manifest, number: int) -> ShardIndex:
    """Open a shard of this cache; raises where it belongs to another."""
    name = shard_name(number)
    shard = open_shard_of(out, manifest, name)
    if found := mismatches(shard, manifest, name, manifest.files.get(name)):
        raise FingerprintMismatchError(
            f"{shard.path}: {'; '.join(found)}; remove it, and the same command makes it again, "
            "or extract into a new folder"
        )
    return shard

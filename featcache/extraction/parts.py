"""Parts of a cache: which of several machines makes which image.

The first extraction is shared by shards: part I of N makes every N-th shard, from the I-th. What
was planned then stands in ``planned.parquet`` of each part. When the data set changes, an image
that was planned stays with its part, whatever becomes of it, and one that came since goes to the
part that a digest of its id names. So every machine knows by itself what is its own, and all of
them together make each image once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import xxhash

from featcache.datasets.columns import ImageRecords, images_of, places
from featcache.storage.layout import PLANNED
from featcache.storage.tables import PLANNED_SCHEMA, content_digest, read_table, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from featcache.datasets.base import ImageRecord
    from featcache.storage.manifest import Manifest


def listing_digest(images: Sequence[ImageRecord]) -> str:
    """Digest of what a data set lists, by which parts know that they have seen the same."""
    return content_digest(images_of(images))


def write_planned(out: Path, images: Sequence[ImageRecord]) -> None:
    """Write down what a first extraction has planned, for all parts the same."""
    write_table(out / PLANNED, images_of(images).select(["sample_id"]).cast(PLANNED_SCHEMA))


def read_planned(out: Path) -> pa.ChunkedArray[Any] | None:
    """Return the ids that the first extraction has planned; None where nobody wrote them down.

    Raises:
        CacheFormatError: The file is damaged.
    """
    if not (out / PLANNED).exists():
        return None
    return read_table(out / PLANNED, PLANNED_SCHEMA)["sample_id"]


def images_of_part(
    images: Sequence[ImageRecord], planned: pa.ChunkedArray[Any], manifest: Manifest
) -> ImageRecords:
    """Return those of a data set's images that belong to a part.

    Args:
        images: Of the whole data set.
        planned: Ids that the first extraction has planned, in order.
        manifest: The part's.
    """
    part = manifest.part
    assert part is not None
    table = images_of(images)
    where = places(table["sample_id"], planned.combine_chunks())
    turns = where // manifest.shard_size % part.count
    since = where < 0
    turns[since] = [
        xxhash.xxh3_64_intdigest(str(sample_id).encode()) % part.count
        for sample_id in table["sample_id"].filter(pa.array(since))
    ]
    return ImageRecords(table.filter(pa.array(turns == part.index - 1)))

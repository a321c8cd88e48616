"""Who makes which shard, and when: an engine.

All engines get the same job and make the same shards of it; plan, tables and digests are not
theirs. The one here is this process; others stand above (``featcache.distributed``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from featcache.extraction.pipeline import make_shards

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from featcache.backbone import Backbone
    from featcache.datasets.base import ImageRecord
    from featcache.extraction.counting import Counting
    from featcache.storage.changes import Change
    from featcache.storage.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Job:
    """The shards to make.

    Attributes:
        chunks: The images of each shard, by its number.
        changes: What a shard, by its number, says of images in earlier ones.
        root: The data set's folder.
        out: The cache's folder, locked by the caller.
        backbone: The frozen model.
        manifest: What the cache is.
        batch_size: Images per forward pass, at most.
        workers: Decoding threads; 0 for one per processor.
    """

    chunks: Mapping[int, Sequence[ImageRecord]]
    changes: Mapping[int, Sequence[Change]]
    root: Path
    out: Path
    backbone: Backbone
    manifest: Manifest
    batch_size: int
    workers: int = 0


# Makes all shards of a job, and tells the counters of each, and which device has made it.
Engine: TypeAlias = "Callable[[Job, Counting], None]"


def in_this_process(job: Job, run: Counting) -> None:
    """Make all shards here, one after the other."""
    device = str(job.backbone.device)
    make_shards(
        job.chunks,
        changes=job.changes,
        root=job.root,
        out=job.out,
        backbone=job.backbone,
        manifest=job.manifest,
        batch_size=job.batch_size,
        workers=job.workers,
        on_image=run.image,
        on_shard=lambda number, entry: run.shard(number, entry, device),
    )

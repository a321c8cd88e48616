"""The Ray engine of an extraction: workers on all GPUs of a machine, or of a cluster.

extract(dataset, out, backbone, config, engine=RayEngine(ClusterConfig(address="auto")))
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.distributed.driver import Driver
from featcache.distributed.proof import challenge
from featcache.distributed.settings import ClusterConfig
from featcache.distributed.worker import Tools
from featcache.stopping import StopRequest
from featcache.storage.durable import is_temporary, remove_temporaries
from featcache.storage.layout import SHARDS

if TYPE_CHECKING:
    from featcache.extraction.counting import Counting
    from featcache.extraction.engine import Job

TRIES, PAUSE = 20, 0.25  # how often, and after how many seconds, the folder is cleaned again


@dataclass(frozen=True, kw_only=True)
class RayEngine:
    """Makes the shards of a job with Ray's actors.

    Attributes:
        cluster: How many workers, and where.
    """

    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __call__(self, job: Job, run: Counting) -> None:
        """Make all shards.

        Raises:
            ConfigError: Ray is not installed, or there is no such cluster, or no worker fits.
            WorkersError: A worker does not see what this process sees; or a shard has killed
                several workers.
        """
        if not job.chunks:
            return
        from featcache.distributed.ray_fleet import RayFleet, connected, room

        with connected(self.cluster.address), StopRequest() as stop:
            place = room(self.cluster)
            tools = Tools(
                root=job.root.absolute(),
                out=job.out.absolute(),
                folder=Path.cwd(),
                manifest=job.manifest,
                backbone=job.backbone.spec,
                device="cuda" if place.gpus else "cpu",
                precision=job.backbone.precision,
                batch_size=job.batch_size,
                workers=job.workers or place.cpus,
                threads=place.cpus,
            )
            try:
                with challenge(job) as asked:
                    fleet = RayFleet(tools, place, asked)
                    try:
                        driver = Driver(
                            fleet, job, run, asked, patience=self.cluster.patience, stop=stop
                        )
                        driver.loop()
                    finally:
                        fleet.close()
            finally:
                _clean(job.out / SHARDS)


def _clean(folder: Path) -> None:
    """Remove what workers leave that were killed; they take a moment to die."""
    for _ in range(TRIES):
        remove_temporaries(folder)
        if not any(map(is_temporary, folder.iterdir())):
            return
        time.sleep(PAUSE)

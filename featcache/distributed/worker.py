"""A worker: holds the model, makes the shards that it is told to, says how far it is.

It knows nothing of who calls it. Two orders may be under way: while one goes through the backbone,
images of the next are decoded, and the shard before is written. A shard is written under a name
that no other worker shares; the driver gives it the final one.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from featcache.distributed.messages import Hello, Receipt, Refusal, Trouble
from featcache.distributed.proof import answer
from featcache.errors import FeatcacheError
from featcache.extraction.pipeline import ShardMaker
from featcache.storage.durable import staged
from featcache.storage.layout import shard_name

if TYPE_CHECKING:
    from pathlib import Path

    from featcache.backbone import Backbone, BackboneSpec
    from featcache.devices import Precision
    from featcache.distributed.messages import Challenge, Order
    from featcache.storage.manifest import Manifest
    from featcache.storage.records import SampleRecord


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a worker is started with.

    Attributes:
        root: The data set's folder.
        out: The cache's.
        folder: Where relative paths of the backbone begin: where the driver was started.
        manifest: What the cache is.
        backbone: Which frozen model.
        device: Where to compute.
        precision: How precisely.
        batch_size: Images per forward pass, at most.
        workers: Decoding threads.
        threads: Threads of torch on a CPU.
    """

    root: Path
    out: Path
    folder: Path
    manifest: Manifest
    backbone: BackboneSpec
    device: str
    precision: Precision
    batch_size: int
    workers: int
    threads: int


class Worker:
    """Makes shards in this process."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self._maker: ShardMaker | None = None
        self._turn = threading.Lock()  # the backbone serves one shard at a time
        self._images = 0

    def prove(self, challenge: Challenge) -> Hello | Refusal | Trouble:
        """Load the backbone, and prove to see what the driver sees."""
        from featcache.backbone import load_backbone
        from featcache.devices import machine

        tools, host = self.tools, socket.gethostname()
        # Cheap proofs come first: on the wrong machine the weights may not even be there.
        found = answer(challenge, tools.root, tools.out, None)
        if isinstance(found, Refusal):
            return found
        with suppress(OSError):  # where it is not there, paths have to be absolute
            os.chdir(tools.folder)
        self._set_threads()
        try:
            backbone = load_backbone(tools.backbone, device=tools.device, precision=tools.precision)
        except FeatcacheError as error:
            return Refusal(host=host, reason=f"cannot load the backbone: {error}")
        file = answer(challenge, tools.root, tools.out, backbone)
        if isinstance(file, Refusal):
            return file
        self.start(backbone)
        device = f"{host}: {machine(backbone.device)}"
        return Hello(host=host, pid=os.getpid(), device=device, answer=file)

    def start(self, backbone: Backbone) -> None:
        """Be ready for orders, with a backbone that is loaded."""
        tools = self.tools
        self._maker = ShardMaker(
            root=tools.root,
            backbone=backbone,
            manifest=tools.manifest,
            batch_size=tools.batch_size,
            workers=tools.workers,
        )

    def make(self, order: Order) -> Receipt | Trouble:
        """Make a shard."""
        try:
            return self._make(order)
        except FeatcacheError as error:
            return Trouble.of(error)

    def pulse(self) -> int:
        """Return how many images this worker has settled: it grows as long as it works."""
        return self._images

    def _make(self, order: Order) -> Receipt:
        assert self._maker is not None, "a worker proves before it works"
        maker, started = self._maker, time.monotonic()
        failures: list[tuple[str, str]] = []

        def settled(record: SampleRecord) -> None:
            self._images += 1
            if record.error is not None:
                failures.append((record.path, record.error))

        pool = maker.decoding()
        try:
            decoded = maker.decoded(pool, order.images)
            with self._turn:
                self._set_threads()
                content = maker.encode(order.images, decoded, settled)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        path = staged(self.tools.out / shard_name(order.number), order.attempt)
        entry = maker.write(path, order.number, replace(content, changes=order.changes))
        return Receipt(
            number=order.number,
            file=path.name,
            entry=entry,
            images=len(order.images),
            failures=tuple(failures),
            seconds=time.monotonic() - started,
        )

    def _set_threads(self) -> None:
        """Let torch use as many threads as this worker has: each Python thread has to be told."""
        if self.tools.device == "cpu":
            import torch

            torch.set_num_threads(self.tools.threads)

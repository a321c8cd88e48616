"""Check a cache where it is, in an object store or on a hub, by streaming it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.maintenance.integrity import ByteCounter, Damage
from featcache.maintenance.verify import VerifyProgress, VerifyReport
from featcache.transfer.copy import WORKERS, read_manifest
from featcache.transfer.store import Store, insist

if TYPE_CHECKING:
    from collections.abc import Callable

    from featcache.storage.entries import FileEntry


def verify_remote(
    place: str,
    quick: bool = False,
    on_progress: Callable[[VerifyProgress], None] = lambda _: None,
) -> VerifyReport:
    """Compare every file of a finished cache with its cache.json; nothing is kept of it.

    Args:
        place: An address such as ``s3://bucket/cache``.
        quick: Compare sizes alone.
        on_progress: Called while bytes are read, by one thread at a time.

    Raises:
        CacheNotFoundError, CacheFormatError: There is no finished cache, or ``cache.json`` is
            damaged.
        TransferError: A file cannot be read, which says nothing of what it holds.
    """
    store, started = Store.at(place), time.monotonic()
    manifest, _ = read_manifest(store)
    manifest.require_complete(Path(place))
    total = 0 if quick else sum(entry.bytes for entry in manifest.files.values())
    counter = ByteCounter(total, lambda d, t: on_progress(VerifyProgress(done=d, total=t)))

    def check(name: str, entry: FileEntry) -> Damage | None:
        what = f"{place}/{name} could not be read"
        size = insist(what, lambda: store.size(name))
        if size is None:
            return Damage(file=name, what="missing")
        if size != entry.bytes:
            return Damage(file=name, what=f"{size} bytes, expected {entry.bytes}")
        if quick:
            return None
        found = insist(what, lambda: store.digest(name))
        counter.add(entry.bytes)
        if found != entry.xxh3_128:
            return Damage(file=name, what=f"digest {found}, expected {entry.xxh3_128}")
        return None

    with ThreadPoolExecutor(WORKERS, "verify") as pool:
        found = pool.map(check, manifest.files, manifest.files.values())
        damages = tuple(damage for damage in found if damage)
    return VerifyReport(
        path=place,
        finished=True,
        quick=quick,
        files=len(manifest.files),
        bytes=counter.done,
        seconds=time.monotonic() - started,
        damages=damages,
    )

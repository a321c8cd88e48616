"""Repair: make again just what is damaged, or failed earlier.

    repair_cache("cache/ava", "/data/ava")

Shards are the truth; everything else follows from them. What can be saved is saved without
images: a shard whose rows are intact is written anew from itself, samples.parquet and cache.json
come from the shards, labels and prompts stay where they are readable. Only shards with damaged
rows, and shards with failed images that are readable now, go through the backbone again, with the
batch size of the extraction, so that on the same machine the same bytes come out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from featcache.datasets.base import safe_relative
from featcache.errors import (
    CacheFormatError,
    CacheNotFoundError,
    DatasetError,
    FeatcacheError,
    ImageError,
)
from featcache.extraction.finish import complete, described, read_samples
from featcache.extraction.pipeline import make_shards
from featcache.images.preprocess import Preprocessing, read_image
from featcache.maintenance.held import Held, what_shards_held
from featcache.maintenance.integrity import (
    ByteCounter,
    Damage,
    bytes_to_read,
    check_files,
    check_history,
    expected_files,
)
from featcache.maintenance.recovery import (
    Source,
    old_table,
    recover_manifest,
    rewrite_shard,
    rewrite_tables,
)
from featcache.storage.durable import remove_temporaries
from featcache.storage.entries import FileEntry
from featcache.storage.history import append_history
from featcache.storage.layout import MANIFEST, SAMPLES, SHARDS, shard_name, shard_number
from featcache.storage.lock import writing
from featcache.storage.manifest import Manifest
from featcache.storage.shard import open_shard_of, write_empty_shard
from featcache.storage.tables import GONE, records_of, without_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from featcache.backbone import Backbone
    from featcache.datasets.base import Dataset
    from featcache.storage.records import SampleRecord


@dataclass(frozen=True, kw_only=True)
class RepairReport:
    """What `repair_cache` did.

    Attributes:
        path: The cache.
        damages: What was found.
        remade: Shards that went through the backbone again.
        rewritten: Files written anew from what was intact.
        different: Of the remade shards, those whose bytes differ from the original ones: the
            machine or a library is another one, or images that had failed are readable now.
        recovered: Images that had failed and have features now.
        failed: Images that still have none.
    """

    path: str
    damages: tuple[Damage, ...] = ()
    remade: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    recovered: tuple[str, ...] = ()
    failed: int = 0

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return bool(self.remade or self.rewritten)


@dataclass(frozen=True, kw_only=True)
class RepairProgress:
    """Where a repair is: ``verify`` counts bytes, ``extract`` images."""

    phase: str
    done: int
    total: int


def repair_cache(
    path: str | Path,
    root: str | Path | None = None,
    *,
    backbone: Backbone | Callable[[Manifest], Backbone] | None = None,
    dataset: Dataset | None = None,
    accept_changed: bool = False,
    workers: int = 0,
    on_progress: Callable[[RepairProgress], None] | None = None,
) -> RepairReport:
    """Repair a finished cache, or a finished part of one.

    Args:
        path: The cache's folder.
        root: The data set's folder; not needed where no image has to be read again.
        backbone: The model, or a function that loads it; called only when it is needed. None
            loads the cache's own.
        dataset: The data set, where it is not one of `featcache.datasets`.
        accept_changed: Make features of images that changed, or fail, since the extraction.
        workers: Decoding threads; 0 for one per processor.
        on_progress: Called often; must be quick.

    Raises:
        CacheNotFoundError: There is no cache, or its extraction has not finished.
        CacheLockedError: Another process uses it.
        CacheFormatError: It is beyond repair; the message says why.
        DatasetError: Images are needed and are not there, or changed since the extraction.
        FingerprintMismatchError: The backbone is not the one that made the features.
    """
    path = Path(path)
    if not (path / SHARDS).is_dir():
        raise CacheNotFoundError(f"{path}: no cache here ({SHARDS}/ is missing)")
    with writing(path):
        remove_temporaries(path)
        remove_temporaries(path / SHARDS)
        damages: list[Damage] = []
        try:
            manifest = Manifest.read(path)
        except (CacheFormatError, CacheNotFoundError) as error:
            damages.append(Damage(file=MANIFEST, what=str(error)))
            manifest = recover_manifest(path)
        if not damages and not manifest.files:
            raise CacheNotFoundError(
                f"{path}: the extraction has not finished; run the same `featcache extract` "
                "command again: it makes damaged shards again, too"
            )
        source = Source(manifest, root=root, dataset=dataset, backbone=backbone)
        report = _Repair(path, source, accept_changed, workers, on_progress).run(damages)
        if report.changed:
            append_history(path, manifest, "repair", report)
    return report


class _Repair:
    """One repair: what was given, what is known, what was done."""

    def __init__(
        self,
        path: Path,
        source: Source,
        accept_changed: bool,
        workers: int,
        on_progress: Callable[[RepairProgress], None] | None,
    ) -> None:
        self.path = path
        self.source = source
        self.manifest = source.manifest
        self.accept_changed = accept_changed
        self.workers = workers
        self.on_progress = on_progress
        self.rewritten: list[str] = []

    def run(self, damages: list[Damage]) -> RepairReport:
        """Do everything, cache.json last."""
        expected = expected_files(self.path, self.manifest)
        damages += self._verify(expected)
        damaged = {damage.file for damage in damages}
        # Where the run was killed while it replaced the table, the shards know more than it does.
        stale = self.manifest.files and not self.manifest.finished
        table = None if SAMPLES in damaged or stale else old_table(self.path)
        if MANIFEST in damaged and table is not None:  # it may know of shards that are lost, too
            last = -(-len(table) // self.manifest.shard_size) - 1
            if not table["shard"].null_count and len(table):
                last = pc.max(table["shard"]).as_py()
            lost = {shard_name(n) for n in range(last + 1)} - expected.keys()
            expected |= dict.fromkeys(lost)
            damaged |= lost
        numbers = sorted(shard_number(n) for n in expected if n.startswith(f"{SHARDS}/"))

        entries: dict[int, FileEntry] = {}  # of the shards that need no image
        for number in numbers:
            name = shard_name(number)
            entry = expected[name]
            if name in damaged:
                entry = rewrite_shard(self.path, self.manifest, number)
                self.rewritten += [name] if entry else []
            elif entry is None:
                shard = open_shard_of(self.path, self.manifest, name)
                entry = FileEntry.of(shard.path, rows=shard.num_rows)
            if entry:
                entries[number] = entry
        held = what_shards_held(self.path, self.source, numbers, table)
        lines = [line for n in sorted(held.lines) for line in held.lines[n]]
        before = {line.sample_id: line for line in lines if line.status != GONE}
        to_make = [
            n for n in sorted(held.lines) if n not in entries or self._readable_now(held.lines[n])
        ]
        remade = self._remake(held, to_make, before)
        entries |= remade
        samples = read_samples(self.path, self.manifest, sorted(entries))
        now = records_of(without_gone(samples))
        recovered = [r for r in now if r.ok and not before.get(r.sample_id, r).ok]
        self.rewritten += rewrite_tables(self.path, self.source, samples, damaged, bool(recovered))
        if remade or self.rewritten or damaged or not self.manifest.finished:
            complete(self.path, self.manifest, described(entries, samples))
        self._check_result([*map(shard_name, remade), *self.rewritten])
        original = self.manifest.files
        names = {shard_name(number): entry for number, entry in remade.items()}
        return RepairReport(
            path=str(self.path),
            damages=tuple(damages),
            remade=tuple(names),
            rewritten=(*((MANIFEST,) if MANIFEST in damaged else ()), *self.rewritten),
            different=tuple(n for n, e in names.items() if original.get(n) not in (None, e)),
            recovered=tuple(record.path for record in recovered),
            failed=sum(not record.ok for record in now),
        )

    def _report(self, phase: str, done: int, total: int) -> None:
        if self.on_progress:
            self.on_progress(RepairProgress(phase=phase, done=done, total=total))

    def _verify(self, entries: Mapping[str, FileEntry | None]) -> list[Damage]:
        """Read everything."""
        counter = ByteCounter(bytes_to_read(entries), partial(self._report, "verify"))
        damages = check_files(self.path, self.manifest, entries, on_bytes=counter.add)
        return damages + check_history(self.path)

    def _readable_now(self, records: Sequence[SampleRecord]) -> bool:
        """Whether one of the images that failed is readable now."""
        if not self.source.has_dataset:
            return False
        root = self.source.dataset().root
        stored = Preprocessing.from_dict(self.manifest.fingerprint.preprocessing)
        preprocessing = stored.replace(decode="exact")  # it is read here, not extracted
        for record in records:
            if record.status == "failed":
                try:
                    read_image(safe_relative(root, record.path), preprocessing)
                except (ImageError, DatasetError):
                    continue
                return True
        return False

    def _remake(
        self, held: Held, numbers: Sequence[int], before: Mapping[str, SampleRecord]
    ) -> dict[int, FileEntry]:
        """Take the images of some shards through the backbone again."""
        remade = {
            n: write_empty_shard(self.path, self.manifest, n, held.changes.get(n, ()))
            for n in numbers
            if not held.lines[n]
        }
        chunks = {n: held.images(n) for n in numbers if held.lines[n]}
        if not chunks:
            return remade
        names = ", ".join(shard_name(number) for number in sorted(chunks))
        dataset = self.source.dataset(f"{names} must be made again from the images")
        total, done = sum(map(len, chunks.values())), 0

        def check(record: SampleRecord) -> None:
            nonlocal done
            done += 1
            self._report("extract", done, total)
            old = before.get(record.sample_id) if record.path else None  # none: it was gone
            if old and old.ok and old.sha256 != record.sha256 and not self.accept_changed:
                raise DatasetError(
                    f"{dataset.root / record.path}: {record.error or 'the file has changed'}; it "
                    "is not the image that was extracted. Put that one back, or accept this one "
                    "with --accept-changed"
                )

        make_shards(
            dict(sorted(chunks.items())),
            root=dataset.root,
            out=self.path,
            backbone=self.source.backbone(),
            manifest=self.manifest,
            batch_size=self.manifest.provenance["batch_size"],
            workers=self.workers,
            changes={number: held.changes.get(number, ()) for number in chunks},
            on_image=check,
            on_shard=remade.__setitem__,
        )
        return remade

    def _check_result(self, names: Sequence[str]) -> None:
        """Read what was written, and the structure of the rest; raises where it is not right."""
        manifest = Manifest.read(self.path)
        entries = expected_files(self.path, manifest)
        damages = check_files(self.path, manifest, entries, quick=True)
        damages += check_files(
            self.path, manifest, {k: v for k, v in entries.items() if k in names}
        )
        if damages:
            raise FeatcacheError(f"{self.path} is still damaged after the repair: {damages[0]}")

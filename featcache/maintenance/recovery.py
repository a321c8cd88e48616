"""What a cache is and holds, recovered from what is left of it: the parts of a repair."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from featcache.datasets import open_dataset
from featcache.datasets.columns import LABELS_SCHEMA, distinct_labels
from featcache.errors import CacheFormatError, DatasetError, FingerprintMismatchError
from featcache.extraction.backbone import load_backbone_of
from featcache.extraction.prompts import encode_prompts
from featcache.maintenance.relabel import labels_of
from featcache.storage.fingerprint import Fingerprint, canonical_json, require_same
from featcache.storage.history import read_history, rewrite_history
from featcache.storage.layout import (
    HISTORY,
    LABELS,
    MANIFEST,
    PLANNED,
    PROMPTS,
    SAMPLES,
    shard_name,
    shard_numbers,
)
from featcache.storage.manifest import Manifest
from featcache.storage.prompts import open_prompts, write_prompts
from featcache.storage.shard import (
    mismatches,
    open_shard_of,
    shard_settings,
    write_shard,
)
from featcache.storage.tables import (
    SAMPLES_SCHEMA,
    queries_of,
    read_table,
    with_measured,
    without_gone,
    write_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from featcache.backbone import Backbone
    from featcache.datasets.base import Dataset
    from featcache.storage.entries import FileEntry
    from featcache.storage.prompts import Prompt


def recover_manifest(folder: Path) -> Manifest:
    """Return the manifest of an unfinished cache, from the settings in its shards.

    Raises:
        CacheFormatError: No shard is readable, or they belong to different caches.
    """
    found: dict[str, str] = {}
    manifest: Manifest | None = None
    for number in shard_numbers(folder):
        name = shard_name(number)
        try:
            settings = shard_settings(folder / name)
            candidate = Manifest.from_settings(settings or {})
        except (CacheFormatError, KeyError, TypeError):
            continue  # damaged itself; another one may be intact
        manifest = manifest or candidate
        found.setdefault(canonical_json(candidate.fingerprint.to_dict()), name)
    if manifest is None:
        raise CacheFormatError(
            f"{folder}: {MANIFEST} is lost, and no shard says what the cache was; extract again"
        )
    if len(found) > 1:
        raise CacheFormatError(
            f"{folder}: {MANIFEST} is lost, and {' and '.join(found.values())} hold different "
            "features; remove those that do not belong here"
        )
    for line in reversed(read_history(folder)[0]):  # shards know neither identity nor name
        if "identity" in line and "name" in line:
            return replace(manifest, identity=line["identity"], name=line["name"])
    return manifest


class Source:
    """Where lost things come from: the data set and the backbone, each loaded when needed."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        root: str | Path | None,
        dataset: Dataset | None,
        backbone: Backbone | Callable[[Manifest], Backbone] | None,
    ) -> None:
        self.manifest = manifest
        self._root = root
        self._given = self._dataset = dataset
        self._backbone = backbone
        self._loaded: Backbone | None = None

    @property
    def has_dataset(self) -> bool:
        """Whether the data set, or its folder, was given."""
        return self._dataset is not None or self._root is not None

    def dataset(self, why: str = "images are needed") -> Dataset:
        """Return the data set; raises DatasetError, with the reason, where none was given."""
        if self._dataset is None:
            if self._root is None:
                raise DatasetError(f"{why}: give --root, the data set's folder")
            facts = self.manifest.dataset
            self._dataset = open_dataset(facts["name"], self._root, **facts["options"])
        return self._dataset

    def label_readers(self, why: str) -> list[Dataset]:
        """Return readers of all that the labels came from: also of labels that came afterwards."""
        if self._given is not None or self._root is None:
            return [self.dataset(why)]
        return [
            open_dataset(source["name"], self._root, **source.get("options", {}))
            for source in self.manifest.label_sources()
        ]

    def backbone(self) -> Backbone:
        """Return the backbone; raises FingerprintMismatchError where it is another one."""
        if self._loaded is None:
            given: Any = self._backbone
            if given is None:
                precision = self.manifest.provenance["precision"]
                given = load_backbone_of(self.manifest, precision=precision)
            loaded: Backbone = given if hasattr(given, "encode_images") else given(self.manifest)
            expected = self.manifest.fingerprint
            found = Fingerprint(
                backbone=loaded.identity,
                preprocessing=loaded.preprocessing.to_dict(),
                views=expected.views,
                dtype=expected.dtype,
            )
            require_same(expected, found, "the cache", "the backbone that was loaded")
            self._loaded = loaded
        return self._loaded


def rewrite_shard(folder: Path, manifest: Manifest, number: int) -> FileEntry | None:
    """Write a shard anew from itself; None, and nothing is written, unless all of it is intact."""
    name = shard_name(number)
    try:
        shard = open_shard_of(folder, manifest, name)
        records, settings = shard.records(), shard.settings()
    except CacheFormatError:
        return None
    ids = [record.sample_id.encode() for record in records if record.ok]
    if mismatches(shard, manifest, name, manifest.files.get(name)):
        return None
    if ids != shard.map("sample_id").tolist() or shard.damaged_rows():
        return None
    return write_shard(
        shard.path,
        shard.content(),
        index=number,
        fingerprint=shard.fingerprint,
        settings=settings,
        schema_version=shard.schema_version,
    )


def old_table(folder: Path) -> pa.Table | None:
    """Read the old samples table, where it is readable."""
    try:
        return read_table(folder / SAMPLES, SAMPLES_SCHEMA)
    except CacheFormatError:
        return None


def rewrite_tables(
    folder: Path,
    source: Source,
    samples: pa.Table,
    damaged: set[str],
    recovered: bool,
) -> list[str]:
    """Rebuild the tables, keeping of labels and prompts what is intact.

    Args:
        folder: The cache, locked by the caller.
        source: Labels and prompts that are lost.
        samples: The samples table that the shards give.
        damaged: Files that verification named.
        recovered: Whether images that had failed have features now.

    Returns:
        Names of the files that were written.
    """
    tables = {SAMPLES: samples, LABELS: _labels(folder, source, samples, recovered)}
    rewritten = [name for name, table in tables.items() if write_table(folder / name, table)]
    queries = queries_of(tables[LABELS])
    if _rewrite_prompts(folder, source, queries, PROMPTS in damaged):
        rewritten.append(PROMPTS)
    if PLANNED in damaged:
        (folder / PLANNED).unlink(missing_ok=True)  # only needed where the part grows
    if read_history(folder)[1]:
        rewrite_history(folder)  # nothing can be made of damaged lines
        rewritten.append(HISTORY)
    return rewritten


def _labels(folder: Path, source: Source, samples: pa.Table, recovered: bool) -> pa.Table:
    """Keep the labels that are readable; else take those of the data set."""
    part = source.manifest.part
    try:
        table = read_table(folder / LABELS, LABELS_SCHEMA)
    except CacheFormatError as error:
        readers = source.label_readers(str(error))
        if part:
            return readers[0].labels_table()
        there = without_gone(samples)
        tables = [
            with_measured(samples, labels_of(reader, there), reader.measured_queries)
            for reader in readers
        ]
        return distinct_labels(pa.concat_tables(tables), f"the labels of {folder}")
    if recovered and not part:
        measured = source.dataset().measured_queries
        others = pc.scalar(True)
        for measure, query in measured.items():
            others &= (pc.field("task") != measure) | (pc.field("query") != query)
        if (labels := table.filter(others)).num_rows < table.num_rows:
            return with_measured(samples, labels, measured)
    return table


def _rewrite_prompts(folder: Path, source: Source, needed: set[Any], damaged: bool) -> bool:
    """Keep the prompts that are intact, encode those that are lost or that labels need."""
    manifest, path = source.manifest, folder / PROMPTS
    if manifest.part and source.has_dataset:
        needed = needed | set(source.dataset().measured_queries.values())
    intact: dict[str, Prompt] = {}
    try:
        index = open_prompts(folder, shapes=manifest.shapes, fingerprint=manifest.fingerprint)
    except (CacheFormatError, FingerprintMismatchError):
        damaged = damaged or path.exists()
    else:
        lost = set(index.damaged())
        damaged = damaged or bool(lost)
        needed = needed | set(index.rows)
        intact = {text: index.read(text) for text, row in index.rows.items() if row not in lost}
    if missing := needed - intact.keys():
        intact |= encode_prompts(source.backbone(), missing)
    if not (damaged or missing):
        return False
    if intact:
        write_prompts(folder, intact, manifest.fingerprint)
    else:
        path.unlink(missing_ok=True)  # unreadable, and no label needs a prompt
    return True

"""The last step of every writer: tables from the shards, prompts, and the digests of all files.

The shards are the truth; samples.parquet is made from their records. cache.json is written last,
so a cache that says it is complete is.
"""

from __future__ import annotations

import json
import os
import platform
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from featcache.backbone import BackboneSpec
from featcache.durable import file_digest
from featcache.errors import FingerprintMismatchError
from featcache.fingerprint import differences
from featcache.layout import HISTORY, LABELS, PROMPTS, SAMPLES, shard_name
from featcache.manifest import FileEntry, Manifest
from featcache.prompts import Prompt, encode_prompts, open_prompts, write_prompts
from featcache.shard import open_shard
from featcache.tables import labels_table, measured_labels, samples_table, write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from featcache.backbone import Backbone
    from featcache.datasets.records import Label


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Counts of a finished cache."""

    images: int
    failed: int
    prompts: int
    labels: int

    def record(self, folder: Path, command: str, summary: Any, device: str) -> None:
        """Append a line to history.jsonl: what ran, when, where and for how long."""
        line = {
            "command": command,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "machine": f"{platform.machine()}, {os.cpu_count()} processors",
            "device": device,
            **{k: v for k, v in asdict(summary).items() if k != "out"},
        }
        with (folder / HISTORY).open("a") as stream:
            stream.write(json.dumps(line) + "\n")


def finish(
    folder: Path,
    manifest: Manifest,
    num_shards: int,
    labels: Sequence[Label],
    measured_queries: Mapping[str, str],
    backbone: Backbone,
    prompts: Iterable[str] = (),
) -> Finished:
    """Write the tables, the missing prompts and cache.json.

    Args:
        folder: The cache, locked by the caller.
        manifest: What the cache is.
        num_shards: How many shards there are.
        labels: The data set's labels.
        measured_queries: Measure name to prompt.
        backbone: Encodes prompts that are not there yet.
        prompts: More prompts to encode.
    """
    entries: dict[str, FileEntry] = {}
    records = []
    for number in range(num_shards):
        name = shard_name(number)
        index = open_shard(
            folder / name,
            shapes=manifest.shapes,
            num_views=len(manifest.fingerprint.views),
            dtype=manifest.fingerprint.dtype,
        )
        records.append((number, index.records()))
        entries[name] = entry(folder / name, rows=index.num_rows)
    samples = samples_table(records)
    write_table(folder / SAMPLES, samples)
    known = {record.sample_id for _, shard in records for record in shard}
    rows = [label for label in labels if label.sample_id in known]
    rows += measured_labels(samples, rows, measured_queries)
    write_table(folder / LABELS, labels_table(rows))
    texts = {row.query for row in rows} | set(prompts)
    count = add_prompts(folder, manifest, texts, backbone)
    complete(folder, manifest, entries)
    ok = sum(e.rows or 0 for e in entries.values())
    return Finished(images=ok, failed=samples.num_rows - ok, prompts=count, labels=len(rows))


def entry(path: Path, rows: int | None = None) -> FileEntry:
    """Read a file and describe it."""
    return FileEntry(bytes=path.stat().st_size, xxh3_128=file_digest(path), rows=rows)


def complete(folder: Path, manifest: Manifest, shards: Mapping[str, FileEntry]) -> None:
    """Write cache.json with the digests of the given shards and of all other files."""
    others = [name for name in (SAMPLES, LABELS, PROMPTS) if (folder / name).exists()]
    manifest.with_files({**shards, **{name: entry(folder / name) for name in others}}).write(folder)


def stored_prompts(folder: Path, manifest: Manifest) -> dict[str, Prompt]:
    """Read all prompts of a cache; none where there is no prompt file yet."""
    if not (folder / PROMPTS).exists():
        return {}
    index = open_prompts(folder, shapes=manifest.shapes, fingerprint=manifest.fingerprint)
    return {text: index.read(text) for text in index.rows}


def add_prompts(
    folder: Path, manifest: Manifest, texts: Iterable[str], backbone: Backbone | None
) -> int:
    """Encode the prompts that are not there yet; returns how many there are in all.

    Args:
        folder: The cache, locked by the caller.
        manifest: What the cache is.
        texts: Prompts that it has to hold.
        backbone: Encodes them; None loads the cache's own, and only where one is missing.
    """
    there = stored_prompts(folder, manifest)
    missing = set(texts) - there.keys()
    if missing:
        backbone = backbone or load_backbone_of(manifest)
        write_prompts(folder, there | encode_prompts(backbone, missing), manifest.fingerprint)
    return len(there) + len(missing)


def load_backbone_of(
    manifest: Manifest, *, device: str = "cpu", precision: Any = "auto", **changes: Any
) -> Backbone:
    """Load the backbone that made a cache, and make sure that it is the same.

    Args:
        manifest: The cache's.
        device: Where to run it.
        precision: As `featcache.backbone.load_backbone`.
        **changes: Fields of ``BackboneSpec`` that differ here, such as the path of ``pretrained``.

    Raises:
        FingerprintMismatchError: What was loaded is not what made the cache.
    """
    from featcache.backbone import load_backbone

    given = {name: value for name, value in changes.items() if value is not None}
    spec = BackboneSpec.from_dict({**manifest.backbone, **given})
    backbone = load_backbone(spec, device=device, precision=precision)
    found = list(differences(dict(manifest.fingerprint.backbone), backbone.identity))
    if found:
        lines = "\n".join(f"  {name}: {a!r} and {b!r}" for name, a, b in found)
        raise FingerprintMismatchError(
            f"this backbone is not the one that made the features:\n{lines}\n"
            "Give --pretrained (and --model-config) the file that was used."
        )
    return backbone

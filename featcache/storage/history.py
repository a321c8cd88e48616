"""history.jsonl: one line per run that wrote to a cache; each line carries its own digest."""

from __future__ import annotations

import json
import os
import platform
import socket
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from featcache.storage.durable import write_bytes
from featcache.storage.fingerprint import canonical_json, digest
from featcache.storage.layout import HISTORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from featcache.storage.manifest import Manifest


def append_history(
    folder: Path,
    manifest: Manifest,
    command: str,
    summary: Any,
    device: str = "cpu",
    shards: Mapping[str, str] | None = None,
) -> None:
    """Add a line: what ran, when, where and for how long. Call it under the lock.

    The file is replaced as a whole, so a crash leaves no torn line.

    Args:
        folder: The cache.
        manifest: What it is. Its identity and name stand here too, for a lost cache.json.
        command: Which command ran.
        summary: A dataclass of JSON values; its ``out`` and ``path`` are left out.
        device: Where the backbone ran.
        shards: Numbers of the shards that each device has made, such as ``0-11,14``.
    """
    line = {
        "command": command,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "device": device,
        "identity": manifest.identity,
        "name": manifest.name,
        **({"shards": dict(shards)} if shards else {}),
        **{k: v for k, v in asdict(summary).items() if k not in ("out", "path")},
    }
    path = folder / HISTORY
    there = path.read_bytes() if path.exists() else b""
    if there and not there.endswith(b"\n"):
        there += b"\n"  # whatever the last line is, it stays one of its own
    write_bytes(path, there + _serialize(line))


def read_history(folder: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Read history.jsonl; returns its intact entries, and the numbers (from 1) of other lines."""
    path = folder / HISTORY
    entries, damaged = [], []
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        try:
            value = json.loads(line)
            value.pop("digest")
            intact = line == _serialize(value)
        except (ValueError, KeyError, AttributeError, TypeError):
            intact = False
        if intact:
            entries.append(value)
        else:
            damaged.append(number)
    return entries, damaged


def rewrite_history(folder: Path) -> None:
    """Keep the intact lines of history.jsonl alone."""
    write_bytes(folder / HISTORY, b"".join(map(_serialize, read_history(folder)[0])))


def _serialize(line: dict[str, Any]) -> bytes:
    return canonical_json({**line, "digest": digest(line)}).encode() + b"\n"

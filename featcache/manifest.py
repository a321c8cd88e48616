"""cache.json: what the features of a cache are, what made them, and a digest of every file.

The document is a function of settings and content alone: times and machines are in history.jsonl.
So an interrupted and resumed extraction ends with the same bytes as one that ran through.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from featcache.durable import write_bytes
from featcache.errors import CacheFormatError, CacheNotFoundError
from featcache.fingerprint import SCHEMA_VERSION, Fingerprint, digest
from featcache.layout import MANIFEST, Shapes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT = "featcache"


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of the cache: its size, its XXH3-128, and, for a shard, its rows."""

    bytes: int
    xxh3_128: str
    rows: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        entry: dict[str, Any] = {"bytes": self.bytes, "xxh3_128": self.xxh3_128}
        return entry if self.rows is None else {**entry, "rows": self.rows}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of cache.json.

    Attributes:
        dataset: Name of the data set, and the options that its reader was given.
        fingerprint: What determines the features.
        shapes: Of one image's and one prompt's features.
        shard_size: Planned images per shard.
        backbone: ``BackboneSpec.to_dict()``: how the backbone was asked for (provenance).
        provenance: Versions, precision and batch size of the extraction.
        complete: Whether the extraction reached its end.
        files: Every file but this one and the history, once complete.
    """

    dataset: Mapping[str, Any]
    fingerprint: Fingerprint
    shapes: Shapes
    shard_size: int
    backbone: Mapping[str, Any]
    provenance: Mapping[str, Any]
    complete: bool = False
    files: Mapping[str, FileEntry] = field(default_factory=dict)

    def shards(self) -> dict[str, FileEntry]:
        """Return the entries of the shards, in the order of rows."""
        return {k: v for k, v in sorted(self.files.items()) if v.rows is not None}

    def with_files(self, files: Mapping[str, FileEntry]) -> Manifest:
        """Return the manifest of a complete cache."""
        return replace(self, complete=True, files=dict(files))

    def to_bytes(self) -> bytes:
        """Serialise; the last key is the digest of all others."""
        body = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "dataset": dict(self.dataset),
            "fingerprint": self.fingerprint.to_dict(),
            "fingerprint_digest": self.fingerprint.digest,
            "shapes": self.shapes.to_dict(),
            "shard_size": self.shard_size,
            "backbone": dict(self.backbone),
            "provenance": dict(self.provenance),
            "complete": self.complete,
            "files": {name: entry.to_dict() for name, entry in sorted(self.files.items())},
        }
        return _serialise({**body, "digest": digest(body)})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check cache.json.

        Raises:
            CacheNotFoundError: There is none.
            CacheFormatError: It is damaged, or of a schema that this version cannot read.
        """
        path = folder / MANIFEST
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise CacheNotFoundError(
                f"{folder}: no cache here ({MANIFEST} is missing); make one with "
                f"`featcache extract --dataset NAME --root DIR --out {folder}`"
            ) from error
        return cls.from_bytes(content, path)

    @classmethod
    def from_bytes(cls, content: bytes, path: Path) -> Manifest:
        """Parse what ``to_bytes`` gave, and refuse what it cannot have given."""
        damaged = f"{path}: damaged; `featcache repair` rebuilds it from the shards"
        try:
            value = json.loads(content)
            version = value["schema_version"]
            if value["format"] != FORMAT:
                raise CacheFormatError(f"{path}: not a featcache cache")
            if version != SCHEMA_VERSION:
                raise CacheFormatError(
                    f"{path}: schema version {version}, this featcache reads {SCHEMA_VERSION}; "
                    "install the version that made it, or extract again"
                )
            stored = value.pop("digest")
            if stored != digest(value) or content != _serialise({**value, "digest": stored}):
                raise CacheFormatError(f"{damaged} (its digest does not match)")
            return cls(
                dataset=value["dataset"],
                fingerprint=Fingerprint.from_dict(value["fingerprint"]),
                shapes=Shapes(**value["shapes"]),
                shard_size=value["shard_size"],
                backbone=value["backbone"],
                provenance=value["provenance"],
                complete=value["complete"],
                files={name: FileEntry(**entry) for name, entry in value["files"].items()},
            )
        except CacheFormatError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CacheFormatError(f"{damaged} ({type(error).__name__}: {error})") from error

    def write(self, folder: Path) -> None:
        """Write cache.json atomically and durably."""
        write_bytes(folder / MANIFEST, self.to_bytes())


def _serialise(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()

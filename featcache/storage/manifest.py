"""cache.json: what the features of a cache are, what made them, and a digest of every file.

The document is a function of settings, content and the cache's identity: times and machines are in
history.jsonl. So an interrupted and resumed extraction ends with the same bytes as one that ran
through.

Versions 1 and 2 are read; what is written is version 2. Version 1 had no identity and no name.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from featcache.errors import CacheFormatError, CacheNotFoundError
from featcache.storage.durable import write_bytes
from featcache.storage.entries import DIGEST, FileEntry, Part, entry_of, is_count
from featcache.storage.fingerprint import Fingerprint, canonical_json, digest
from featcache.storage.layout import (
    MANIFEST,
    READABLE_VERSIONS,
    SAMPLES,
    SCHEMA_VERSION,
    Shapes,
    require_folder,
    shard_number,
)

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "featcache"
MAX_BYTES = 1 << 28  # of cache.json: a shard takes 130


def new_identity() -> str:
    """Draw the identity of a new cache: 128 random bits, in hexadecimal."""
    return secrets.token_hex(16)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of cache.json.

    Attributes:
        dataset: Name of the data set, the options that its reader was given, and ``stand_in``
            where its images were drawn in its place.
        fingerprint: What determines the features.
        shapes: Of one image's and one prompt's features.
        shard_size: Planned images per shard.
        backbone: ``BackboneSpec.to_dict()``: how the backbone was asked for (provenance).
        provenance: Versions, precision and batch size of the extraction.
        complete: Whether this is a whole cache whose extraction reached its end.
        files: Every file but this one and the history, once the extraction reached its end.
        part: The share of a cache that is made on several machines; such a cache is never
            complete, but may be `finished`.
        identity: Drawn when the cache is created, and kept for as long as it lives; it tells two
            caches apart. A cache of version 1 gets one that follows from its content.
        name: What people call the cache; the data set's name where it is empty.
        planned: Images of the first extraction, here or of this part, until it is finished.
        schema_version: Of the layout; shards that are made for this manifest have the same.
    """

    dataset: Mapping[str, Any]
    fingerprint: Fingerprint
    shapes: Shapes
    shard_size: int
    backbone: Mapping[str, Any]
    provenance: Mapping[str, Any]
    complete: bool = False
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    part: Part | None = None
    identity: str = field(default_factory=new_identity)
    name: str = ""
    planned: int | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Refuse values of other types, as a damaged or hostile file may hold them."""
        for name in ("dataset", "backbone", "provenance"):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"{name} must be an object")  # noqa: TRY004
        if not isinstance(self.dataset.get("name"), str):
            raise ValueError(f"dataset must have a name, not {self.dataset!r}")  # noqa: TRY004
        if not all(_is_source(source) for source in self.label_sources()):
            raise ValueError(f"labels must come from data sets, not {self.dataset!r}")
        if not is_count(self.shard_size) or not self.shard_size:
            raise ValueError(f"shard_size must be a positive integer, not {self.shard_size!r}")
        if not isinstance(self.identity, str) or not DIGEST.fullmatch(self.identity):
            raise ValueError(f"identity must be 32 hexadecimal digits, not {self.identity!r}")
        if self.name == "":
            object.__setattr__(self, "name", self.dataset["name"])
        if not isinstance(self.name, str) or not self.name.isprintable():
            raise ValueError(f"name must be printable text in one line, not {self.name!r}")
        if type(self.schema_version) is not int or self.schema_version not in READABLE_VERSIONS:
            raise ValueError(f"there is no schema version {self.schema_version!r}")
        if self.planned is not None and (not is_count(self.planned) or self.files):
            raise ValueError(f"planned must be a number of images, not {self.planned!r}")
        if not isinstance(self.complete, bool):
            raise ValueError(f"complete must be true or false, not {self.complete!r}")  # noqa: TRY004

    @property
    def stand_in(self) -> bool:
        """Whether images or labels are those of a drawn stand-in of a data set."""
        sources = [self.dataset, *self.label_sources()]
        return any(source.get("stand_in") is True for source in sources)

    def label_sources(self) -> list[Mapping[str, Any]]:
        """Return the data sets, name and options, that the labels came from, the oldest first."""
        return list(self.dataset.get("labels", [self._images()]))

    def _images(self) -> dict[str, Any]:
        """Return the data set that the images came from."""
        return {name: value for name, value in self.dataset.items() if name != "labels"}

    def with_labels_of(self, source: Mapping[str, Any], *, append: bool) -> Manifest:
        """Return the manifest once labels were read with a data set's reader.

        Args:
            source: The data set's name and options.
            append: Whether the labels that were there stay.
        """
        sources = self.label_sources() if append else []
        sources += [source] if source not in sources else []
        return replace(self, dataset={**self.dataset, "labels": sources})

    def shards(self) -> dict[str, FileEntry]:
        """Return the entries of the shards, in the order of rows."""
        shards = {name: entry for name, entry in self.files.items() if entry.rows is not None}
        return dict(sorted(shards.items(), key=lambda item: shard_number(item[0])))

    @property
    def finished(self) -> bool:
        """Whether the extraction, or the part's, reached its end: the tables are there."""
        tables = any(entry.rows is None for entry in self.files.values())
        return self.complete or (self.part is not None and tables)

    @property
    def grown(self) -> bool:
        """Whether there are rows that readers do not see."""
        return any(entry.live is not None for entry in self.files.values())

    def with_shards(self, shards: Mapping[str, FileEntry]) -> Manifest:
        """Return the manifest of a cache whose shards are there, but not yet its new tables."""
        return replace(self, complete=False, files=dict(shards), planned=None)

    def with_files(self, files: Mapping[str, FileEntry]) -> Manifest:
        """Return the manifest of a finished cache, or part of one."""
        return replace(self, complete=self.part is None, files=dict(files), planned=None)

    def unfinished(self, planned: int | None = None) -> Manifest:
        """Return the manifest of the same cache while shards of so many images are being made."""
        return replace(self, complete=False, files={}, planned=planned)

    def require_complete(self, folder: Path) -> None:
        """Raise CacheNotFoundError where this is not a whole, finished cache."""
        if self.part and self.finished:
            raise CacheNotFoundError(
                f"{folder}: this is part {self.part} of a cache; "
                f"put the parts together with `featcache merge PART PART ... --out CACHE`"
            )
        if not self.complete:
            raise CacheNotFoundError(
                f"{folder}: the extraction has not finished; run the same "
                "`featcache extract` command again to go on"
            )

    def settings(self) -> dict[str, Any]:
        """Return what was decided before the first image, and determines shards.

        Labels may be replaced at any time; where they came from is no part of it.
        """
        fingerprint = self.fingerprint.to_dict()
        if self.schema_version == 1:
            fingerprint["schema_version"] = 1
        return {
            "dataset": self._images(),
            "fingerprint": fingerprint,
            "shapes": self.shapes.to_dict(),
            "shard_size": self.shard_size,
            "backbone": dict(self.backbone),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_settings(cls, value: Mapping[str, Any]) -> Manifest:
        """Return the manifest of an extraction that has not begun, from its settings."""
        return cls(
            dataset=value["dataset"],
            fingerprint=Fingerprint.from_dict(value["fingerprint"]),
            shapes=Shapes(**value["shapes"]),
            shard_size=value["shard_size"],
            backbone=value["backbone"],
            provenance=value["provenance"],
            schema_version=value["fingerprint"].get("schema_version", SCHEMA_VERSION),
        )

    def to_bytes(self) -> bytes:
        """Serialize; the last key is the digest of all others."""
        body = {
            "format": FORMAT,
            "schema_version": self.schema_version,
            **({} if self.schema_version == 1 else {"identity": self.identity, "name": self.name}),
            **self.settings(),
            "dataset": dict(self.dataset),  # where labels came from afterwards is in no shard
            "fingerprint_digest": self.fingerprint.digest,
            "complete": self.complete,
            "files": {name: entry.to_dict() for name, entry in sorted(self.files.items())},
        }
        if self.planned is not None:
            body["planned"] = self.planned
        if self.part:
            body["part"] = self.part.to_dict()
        body = {key: _sorted(value) for key, value in body.items()}
        return _serialize({**body, "digest": digest(body)})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read and check cache.json.

        Raises:
            CacheNotFoundError: There is none.
            CacheFormatError: It is damaged, or of a schema that this version cannot read.
        """
        require_folder(folder)
        path = folder / MANIFEST
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
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
        if len(content) > MAX_BYTES:
            raise CacheFormatError(f"{damaged} (it has more than {MAX_BYTES} bytes)")
        try:
            value = json.loads(content)
            version = value["schema_version"]
            if value["format"] != FORMAT:
                raise CacheFormatError(f"{path}: not a featcache cache")
            if version not in READABLE_VERSIONS:
                known = " and ".join(map(str, READABLE_VERSIONS))
                raise CacheFormatError(
                    f"{path}: schema version {version}, this featcache reads {known}; "
                    "install the version that made it, or extract again"
                )
            stored = value.pop("digest")
            if stored != digest(value):
                raise CacheFormatError(f"{damaged} (its digest does not match)")
            manifest = replace(
                cls.from_settings(value),
                complete=value["complete"],
                files={name: entry_of(name, entry) for name, entry in value["files"].items()},
                part=Part(**value["part"]) if "part" in value else None,
                identity=_identity_of(value),
                name=value["name"] if version > 1 else "",
                planned=value.get("planned"),
                schema_version=version,
            )
        except CacheFormatError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CacheFormatError(f"{damaged} ({type(error).__name__}: {error})") from error
        if manifest.to_bytes() != content:
            raise CacheFormatError(f"{damaged} (it is not what its own content gives)")
        return manifest

    def write(self, folder: Path) -> None:
        """Write cache.json atomically and durably; one of version 1 becomes version 2."""
        write_bytes(folder / MANIFEST, self.current().to_bytes())

    def current(self) -> Manifest:
        """Return the same in the version that is written now."""
        return replace(self, schema_version=SCHEMA_VERSION)


def _identity_of(value: Mapping[str, Any]) -> str:
    """Return the identity that cache.json states.

    Version 1 states none. What follows from its features and images serves as well: the copy of a
    cache has the same, another cache has not. An unfinished one gets its own when it is finished.
    """
    if value["schema_version"] > 1:
        stated: str = value["identity"]
        return stated
    if SAMPLES not in value["files"]:
        return new_identity()
    samples = value["files"][SAMPLES]["xxh3_128"]
    return digest({"fingerprint": value["fingerprint_digest"], "samples": samples})


def _is_source(value: Any) -> bool:
    """Tell whether a value names a data set, with the options of its reader."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("name"), str)
        and isinstance(value.get("options", {}), Mapping)
    )


def _sorted(value: Any) -> Any:
    """Sort keys at every depth: the same values have the same bytes, wherever they came from."""
    return json.loads(canonical_json(value))


def _serialize(value: Mapping[str, Any]) -> bytes:
    """Write a document with an indent of two spaces.

    ``files`` has a line for each fact of each shard, and the json module indents slowly: here it
    is written five times as fast.
    """
    text = json.dumps({**value, "files": {}}, indent=2, ensure_ascii=False) + "\n"
    entries = []
    for name, entry in value["files"].items():
        facts = (f'"{k}": {v if type(v) is int else json.dumps(v)}' for k, v in entry.items())
        entries.append(f"    {json.dumps(name)}: {{\n      " + ",\n      ".join(facts) + "\n    }")
    files = "{\n" + ",\n".join(entries) + "\n  }" if entries else "{}"
    # At the start of a line, with this indent: no text inside the document looks like it.
    return text.replace('\n  "files": {}', f'\n  "files": {files}', 1).encode()

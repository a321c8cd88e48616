"""The records of a shard: JSON lines that say what it holds.

First the settings of its cache, then what became of images in earlier shards (``changes.py``), then
one line per planned image, which is also a row of samples.parquet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from featcache.storage.changes import Change
from featcache.storage.fingerprint import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRecord:
    """What is known of one image: a line of a shard's records, a row of samples.parquet.

    ``status`` is ``ok`` or ``failed``; a failed image has an ``error`` and no features. Sizes are
    those of the upright image, measures are `featcache.images.measures` of its pixels.
    """

    sample_id: str
    path: str
    status: str
    error: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    brightness: float | None = None
    contrast: float | None = None
    colourfulness: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the image has features."""
        return self.status == "ok"


FIELDS = tuple(field.name for field in fields(SampleRecord))


def records_bytes(
    records: Sequence[SampleRecord],
    changes: Sequence[Change] = (),
    settings: Mapping[str, Any] | None = None,
) -> bytes:
    """Write records."""
    lines: list[Any] = [{"settings": settings}] if settings else []
    lines += [change.to_line() for change in changes]
    lines += [{name: getattr(record, name) for name in FIELDS} for record in records]
    return "".join(canonical_json(line) + "\n" for line in lines).encode()


def read_records(content: bytes) -> list[SampleRecord]:
    """Read the images.

    Raises:
        ValueError, TypeError, AttributeError: It is not what `records_bytes` gives.
    """
    return [line for line in _facts(content) if isinstance(line, SampleRecord)]


def read_changes(content: bytes) -> list[Change]:
    """Read what became of images in earlier shards; errors as of `read_records`."""
    # They stand before the images, so that no other line has to be parsed.
    before = takewhile(lambda line: not isinstance(line, SampleRecord), _facts(content))
    return [line for line in before if isinstance(line, Change)]


def read_settings(content: bytes) -> dict[str, Any] | None:
    """Read the settings of the cache; None where there are none. Errors as of `read_records`."""
    settings: dict[str, Any] | None = next(_lines(content), {}).get("settings")
    return settings


def _facts(content: bytes) -> Iterator[SampleRecord | Change]:
    """Read every line but the settings."""
    for line in _lines(content):
        if "settings" not in line:
            facts = {key: value for key, value in line.items() if key in FIELDS}
            yield Change.from_line(line) or SampleRecord(**facts)


def _lines(content: bytes) -> Iterator[dict[str, Any]]:
    return map(json.loads, content.splitlines())  # bytes: at \\n alone

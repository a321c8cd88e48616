"""What determines features, its hash, and the difference between two of them.

The fingerprint holds the backbone (architecture, configuration, digest of its weights), the token
projection, preprocessing, views and the stored dtype. Paths, pretrained tags, times, batch sizes,
precision and worker counts are provenance: they are recorded in the cache, but the same weights
from a hub and from a local file are the same features. The version of the layout is no part of it
either: the same features in another layout stay the same features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featcache.errors import FingerprintMismatchError
from featcache.storage.layout import DTYPES

# Version 1 of the layout hashed its number with the rest. It stays in what is hashed, whatever the
# layout is now, so that the same features have the same digest in every version.
_HASHED_WITH = {"schema_version": 1}

Json = Any  # a value that the json module can write


def canonical_json(value: Json) -> str:
    """Serialize with sorted keys and no white space, so that equal values have equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Everything that determines the features in a cache.

    Attributes:
        backbone: Architecture, configuration, weights digest, projection and token pooling, as
            ``Backbone.identity`` gives them.
        preprocessing: ``Preprocessing.to_dict()``.
        views: Names of the stored views, in the order of the shards' second axis.
        dtype: How tokens are stored: ``float16``, ``float32`` or ``int8``.
    """

    backbone: Mapping[str, Json]
    preprocessing: Mapping[str, Json]
    views: tuple[str, ...]
    dtype: str

    def __post_init__(self) -> None:
        """Refuse values of other types, as a damaged or hostile file may hold them."""
        if not isinstance(self.backbone, Mapping) or not isinstance(self.preprocessing, Mapping):
            raise ValueError("backbone and preprocessing must be mappings")  # noqa: TRY004
        names = [name for name in self.views if isinstance(name, str) and name]
        if not names or len(set(names)) < len(self.views):
            raise ValueError(f"views must be one or more different names, not {self.views!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}")

    def to_dict(self) -> dict[str, Json]:
        """Return the value as JSON types."""
        return {
            "backbone": dict(self.backbone),
            "preprocessing": dict(self.preprocessing),
            "views": list(self.views),
            "dtype": self.dtype,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Json]) -> Fingerprint:
        """Read what ``to_dict`` gave; raises KeyError where a field is missing."""
        return cls(
            backbone=value["backbone"],
            preprocessing=value["preprocessing"],
            views=tuple(value["views"]),
            dtype=value["dtype"],
        )

    @property
    def digest(self) -> str:
        """The first 128 bits of the SHA-256 of the canonical JSON, in hexadecimal."""
        return digest(self.to_dict() | _HASHED_WITH)

    def prompt_identity(self) -> dict[str, Json]:
        """Return the part that determines prompt tokens: the text tower, not the images.

        ``text_weights`` belongs to it where the text tower's weights came from a file of their own.
        """
        names = ("architecture", "weights", "text_weights")
        return {name: self.backbone[name] for name in names if name in self.backbone}


def digest(value: Json) -> str:
    """Hash a JSON value: 128 bits of SHA-256 over its canonical text, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:32]


def differences(a: Json, b: Json, prefix: str = "") -> Iterator[tuple[str, Json, Json]]:
    """Yield (dotted name, value in a, value in b) wherever two JSON values differ."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b}):
            name = f"{prefix}.{key}" if prefix else str(key)
            yield from differences(a.get(key), b.get(key), name)
    elif _plain(a) != _plain(b):
        yield prefix, a, b


def require_same(
    a: Fingerprint, b: Fingerprint, what_a: str, what_b: str, *, ignore: Sequence[str] = ()
) -> None:
    """Refuse two fingerprints that differ.

    Args:
        a: One fingerprint.
        b: The other.
        what_a: What the first belongs to, for the message.
        what_b: What the second belongs to.
        ignore: Names (or their first parts) whose difference is accepted, such as ``views``.

    Raises:
        FingerprintMismatchError: They differ; every difference is named with both values.
    """
    found = [
        (name, one, two)
        for name, one, two in differences(a.to_dict(), b.to_dict())
        if not any(name == skip or name.startswith(f"{skip}.") for skip in ignore)
    ]
    if found:
        lines = "\n".join(f"  {name}: {one!r} and {two!r}" for name, one, two in found)
        raise FingerprintMismatchError(
            f"{what_a} and {what_b} hold different features:\n{lines}\n"
            "Use the same settings for both, or extract again into a new folder."
        )


def _plain(value: Json) -> Json:
    """Compare lists and tuples alike, as JSON does."""
    return list(value) if isinstance(value, tuple) else value

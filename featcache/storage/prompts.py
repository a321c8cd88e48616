"""prompts.h5: tokens and pooled embeddings of every distinct prompt.

    tokens    [n, T, D]  float32   after the text tower's final LayerNorm, before its projection
    pooled    [n, E]     float32   OpenCLIP's encode_text, not normalized
    digests   [n, 16]    uint8     XXH3-128 of a prompt's UTF-8 text, tokens and pooled bytes
    prompts   [K]        uint8     JSON list of the prompts, sorted

The root's attribute ``identity`` is the digest of what determines a prompt's tokens.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xxhash

from featcache.errors import CacheFormatError, FingerprintMismatchError, PromptNotFoundError
from featcache.storage.fingerprint import digest
from featcache.storage.hdf5 import Kinds, Region, read_regions, write_arrays
from featcache.storage.layout import PROMPTS, Shapes
from featcache.storage.shard import DIGEST_BYTES, row_digest
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from featcache.storage.fingerprint import Fingerprint


class Prompt(NamedTuple):
    """One prompt's features: tokens float32 [T, D], pooled float32 [E]."""

    tokens: NDArray[np.float32]
    pooled: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PromptIndex:
    """A checked prompt file: its texts and where its arrays lie. Nothing stays open."""

    path: Path
    rows: Mapping[str, int]
    regions: Mapping[str, Region]

    def read(self, text: str) -> Prompt:
        """Read one prompt and compare it with its digest.

        Raises:
            PromptNotFoundError: It is not there; the message says how to add it.
            CacheFormatError: Its bytes are damaged.
        """
        row = self.rows.get(text)
        if row is None:
            raise PromptNotFoundError(
                f"{self.path}: no tokens for the prompt {text!r}; add them with: "
                + shlex.join(["featcache", "prompts", str(self.path.parent), "--add", text])
            )
        if row in self.damaged([row]):
            raise CacheFormatError(
                f"{self.path}: the prompt {text!r} (row {row}) is damaged; run `featcache repair`"
            )
        tokens, pooled = (self.regions[name].map(self.path)[row] for name in ("tokens", "pooled"))
        return Prompt(np.array(tokens), np.array(pooled))

    def damaged(self, rows: Iterable[int] | None = None) -> list[int]:
        """Compare prompts with their digests; returns the rows that differ."""
        texts = list(self.rows)
        if not texts:
            return []
        arrays = [self.regions[name].map(self.path) for name in ("tokens", "pooled")]
        digests = self.regions["digests"].map(self.path)
        return [
            row
            for row in (range(len(texts)) if rows is None else rows)
            if row_digest(_text_bytes(texts[row]), *(a[row] for a in arrays))
            != digests[row].tobytes()
        ]


def open_prompts(folder: Path, *, shapes: Shapes, fingerprint: Fingerprint) -> PromptIndex:
    """Check the prompt file of a cache; a cache without labels has none, and holds no prompts.

    Raises:
        CacheFormatError: It is damaged or not of the documented format.
        FingerprintMismatchError: It was made with another text tower.
    """
    path = folder / PROMPTS
    if not path.exists():
        return PromptIndex(path=path, rows={}, regions={})
    tails: Kinds = {
        "tokens": (np.dtype("float32"), (shapes.context_length, shapes.text_dim)),
        "pooled": (np.dtype("float32"), (shapes.pooled_dim,)),
        "digests": (np.dtype("uint8"), (DIGEST_BYTES,)),
        "prompts": (np.dtype("uint8"), ()),
    }
    regions, attributes = read_regions(path, tails, {"identity": bytes, "prompts_digest": bytes})
    if attributes["identity"] != _identity(fingerprint):
        raise FingerprintMismatchError(
            f"{path} was made with another text tower than the cache: identity "
            f"{attributes['identity']}, expected {_identity(fingerprint)}; "
            f"run `featcache repair {folder}`"
        )
    content = regions["prompts"].map(path).tobytes()
    if xxhash.xxh3_128_hexdigest(content) != attributes["prompts_digest"]:
        raise CacheFormatError(f"{path}: the list of prompts is damaged; run `featcache repair`")
    try:
        texts = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CacheFormatError(f"{path}: the list of prompts is not JSON: {error}") from error
    if (
        not isinstance(texts, list)
        or not all(isinstance(text, str) for text in texts)
        or len(set(texts)) < len(texts)
    ):
        raise CacheFormatError(f"{path}: prompts must be a JSON list of different texts")
    if any(regions[name].shape[0] != len(texts) for name in ("tokens", "pooled", "digests")):
        raise CacheFormatError(
            f"{path}: {quantity(len(texts), 'prompt')}, but other numbers of rows"
        )
    return PromptIndex(path=path, rows={text: n for n, text in enumerate(texts)}, regions=regions)


def write_prompts(folder: Path, prompts: Mapping[str, Prompt], fingerprint: Fingerprint) -> None:
    """Write the prompt file, sorted by text; its bytes depend on the arguments alone."""
    if not prompts:
        raise ValueError("a prompt file needs at least one prompt")
    texts = sorted(prompts)
    tokens = np.stack([prompts[text].tokens for text in texts]).astype(np.float32)
    pooled = np.stack([prompts[text].pooled for text in texts]).astype(np.float32)
    digests = np.array(
        [
            np.frombuffer(row_digest(_text_bytes(text), tokens[n], pooled[n]), np.uint8)
            for n, text in enumerate(texts)
        ]
    )
    content = json.dumps(texts, ensure_ascii=False).encode()
    write_arrays(
        folder / PROMPTS,
        {
            "tokens": tokens,
            "pooled": pooled,
            "digests": digests,
            "prompts": np.frombuffer(content, np.uint8),
        },
        {
            "identity": _identity(fingerprint).encode(),
            "prompts_digest": xxhash.xxh3_128_hexdigest(content).encode(),
        },
    )


def _identity(fingerprint: Fingerprint) -> str:
    return digest(fingerprint.prompt_identity())


def _text_bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)

"""Prompts of a cache: each distinct one is encoded once, by the text tower alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.storage.prompts import Prompt, open_prompts, write_prompts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from featcache.backbone import Backbone
    from featcache.storage.manifest import Manifest


def encode_prompts(backbone: Backbone, texts: Iterable[str]) -> dict[str, Prompt]:
    """Encode prompts one at a time, so that a prompt's bits do not depend on its neighbors.

    Raises:
        BackboneError: A prompt is longer than the text tower reads; nothing is encoded.
    """
    different = sorted(set(texts))
    backbone.check_prompts(different)
    encoded = {}
    for text in different:
        features = backbone.encode_prompts([text])
        encoded[text] = Prompt(features.tokens[0].cpu().numpy(), features.pooled[0].cpu().numpy())
    return encoded


def stored_prompts(folder: Path, manifest: Manifest) -> dict[str, Prompt]:
    """Read all prompts of a cache; none where there is no prompt file yet."""
    index = open_prompts(folder, shapes=manifest.shapes, fingerprint=manifest.fingerprint)
    return {text: index.read(text) for text in index.rows}


def add_prompts(
    folder: Path, manifest: Manifest, texts: Iterable[str], load: Callable[[], Backbone]
) -> int:
    """Encode the prompts that are not there yet; returns how many there are in all.

    Args:
        folder: The cache, locked by the caller.
        manifest: What the cache is.
        texts: Prompts that it has to hold.
        load: Returns the backbone that encodes them; called only where one is missing.
    """
    there = stored_prompts(folder, manifest)
    missing = set(texts) - there.keys()
    if missing:
        write_prompts(folder, there | encode_prompts(load(), missing), manifest.fingerprint)
    return len(there) + len(missing)

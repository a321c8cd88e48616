"""The data card of a cache: a README.md with the header that hubs of data sets read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from featcache.datasets import info
from featcache.datasets.stand_in import NOTICE
from featcache.errors import DatasetError
from featcache.storage.history import makers

if TYPE_CHECKING:
    from featcache.reading.cache import Cache


def data_card(cache: Cache) -> str:
    """Write the data card of a cache, in Markdown."""
    manifest, shapes = cache.manifest, cache.manifest.shapes
    backbone = manifest.fingerprint.backbone
    rows = cache.read_samples("status")["status"]
    failed = pc.sum(pc.equal(rows, "failed")).as_py() or 0
    tokens = (
        f"{shapes.num_tokens} patch tokens of {shapes.token_dim} channels in "
        f"{manifest.fingerprint.dtype}, and "
        if shapes.num_tokens
        else ""
    )
    size = sum(entry.bytes for entry in manifest.files.values())
    lines = [
        "---",
        f"pretty_name: {json.dumps(f'{manifest.name}, features', ensure_ascii=False)}",
        "license: other",
        "license_name: that-of-the-images",
        "tags: [features, clip, featcache]",
        "---",
        "",
        f"# Features of {manifest.name}",
        "",
        *([f"**{NOTICE}**", ""] if manifest.stand_in else []),
        f"{len(cache):,} images ({failed:,} more could not be read), {size / 1e9:.2f} GB. Of each "
        f"image, in the views {', '.join(cache.views)}: {tokens}a pooled embedding of "
        f"{shapes.pooled_dim} float32.",
        "",
        f"- images: {_license(cache.dataset)}",
        f"- backbone: {backbone['architecture']}, weights SHA-256 `{backbone['weights']}`",
        f"- digest of the features: `{manifest.fingerprint.digest}`",
        f"- identity of this cache: `{manifest.identity}`",
        *(f"- shards {numbers} made by {device}" for device, numbers in makers(cache.path).items()),
        "",
        "The features are made of the images, and their license is that of the images. There are no "
        "images in this cache, but their paths, sizes and SHA-256.",
        "",
        "## Labels",
        "",
        "| task | query | images | values |",
        "|---|---|---:|---|",
        *_labels(cache),
        "",
        "## Use it",
        "",
        "    featcache copy ADDRESS cache/here",
        "    featcache verify cache/here",
        "    adapter train --shards cache/here",
    ]
    return "\n".join(lines) + "\n"


def _labels(cache: Cache) -> list[str]:
    """Return a line of the table for each query."""
    groups = cache.labels.group_by(["task", "query"], use_threads=False).aggregate(
        [("sample_id", "count_distinct"), ("value", "min"), ("value", "max")]
    )
    columns = (groups[name].to_pylist() for name in groups.column_names)
    facts = dict(zip(groups.column_names, columns, strict=True))
    return [
        f"| {task} | {query.replace('|', chr(92) + '|')} | {n:,} | {low:g} to {high:g} |"
        for task, query, n, low, high in zip(
            facts["task"],
            facts["query"],
            facts["sample_id_count_distinct"],
            facts["value_min"],
            facts["value_max"],
            strict=True,
        )
    ]


def _license(name: str) -> str:
    try:
        about = info(name)
    except DatasetError:
        return f"{name}, whose license is not known here"
    return f"{about.title}. {about.license}"

"""The data card of a cache: a README.md with the header that hubs of data sets read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from featcache.datasets import info
from featcache.datasets.stand_in import NOTICE
from featcache.errors import DatasetError
from featcache.storage.makers import makers
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from featcache.reading.cache import Cache
ABOUT = (
    "The features are made of the images, and their license is that of the images. This cache has "
    "no images in it, but their paths, sizes and SHA-256."
)


def data_card(cache: Cache) -> str:
    """Write the data card of a cache, in Markdown."""
    manifest, shapes = cache.manifest, cache.manifest.shapes
    backbone = manifest.fingerprint.backbone
    failed = cache.read_samples("status").filter(pc.field("status") == "failed").num_rows
    tokens = (
        f"{quantity(shapes.num_tokens, 'patch token')} of "
        f"{quantity(shapes.token_dim, 'channel')} in "
        f"{manifest.fingerprint.dtype}, and "
        if shapes.num_tokens
        else ""
    )
    size = sum(entry.bytes for entry in manifest.files.values()) / 1e9
    what = (
        f"{quantity(len(cache), 'image')} ({failed:,} more could not be read), {size:.2f} GB. "
        f"Of each image, in the views {', '.join(cache.views)}: {tokens}a pooled embedding of "
        f"{shapes.pooled_dim} float32."
    )
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
        what,
        "",
        f"- images: {_license(cache.dataset)}",
        f"- backbone: {backbone['architecture']}, weights SHA-256 `{backbone['weights']}`",
        f"- digest of the features: `{manifest.fingerprint.digest}`",
        f"- identity of this cache: `{manifest.identity}`",
        *(f"- shards {numbers} made by {device}" for device, numbers in makers(cache.path).items()),
        "",
        ABOUT,
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


def _labels(cache: Cache) -> Iterator[str]:
    """Yield a line of the table for each query."""
    groups = cache.labels.group_by(["task", "query"], use_threads=False).aggregate(
        [("sample_id", "count_distinct"), ("value", "min"), ("value", "max")]
    )
    for row in groups.to_pylist():
        query = str(row["query"]).replace("|", "\\|")
        values = f"{row['value_min']:g} to {row['value_max']:g}"
        yield f"| {row['task']} | {query} | {row['sample_id_count_distinct']:,} | {values} |"


def _license(name: str) -> str:
    try:
        about = info(name)
    except DatasetError:
        return f"{name}, whose license is not known here"
    return f"{about.title}. {about.license}"

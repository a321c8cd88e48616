"""Labels and prompts of a finished cache, changed without touching a feature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.finish import add_prompts, complete
from featcache.layout import LABELS, SAMPLES
from featcache.lock import writing
from featcache.manifest import Manifest
from featcache.tables import (
    LABELS_SCHEMA,
    SAMPLES_SCHEMA,
    labels_table,
    measured_labels,
    read_table,
    write_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from featcache.backbone import Backbone
    from featcache.datasets.records import Label


def relabel(
    folder: Path,
    labels: Sequence[Label],
    measured_queries: Mapping[str, str],
    load: Callable[[Manifest], Backbone],
    *,
    append: bool = False,
) -> tuple[int, int]:
    """Write new labels, and the prompts that they need.

    Args:
        folder: A finished cache.
        labels: The new labels; those of images that the cache does not know are left out.
        measured_queries: Measure name to prompt.
        load: Loads the backbone of a manifest; called only when a prompt is missing.
        append: Keep the labels that are there.

    Returns:
        Number of label rows written, and of labels left out.
    """
    with writing(folder):
        manifest = Manifest.read(folder)
        samples = read_table(folder / SAMPLES, SAMPLES_SCHEMA)
        known = set(samples["sample_id"].to_pylist())
        rows = [label for label in labels if label.sample_id in known]
        left_out = len(labels) - len(rows)
        rows += measured_labels(samples, rows, measured_queries)
        table = labels_table(rows)
        _add(folder, manifest, {row.query for row in rows}, load)
        if append:
            import pyarrow as pa

            table = pa.concat_tables([read_table(folder / LABELS, LABELS_SCHEMA), table])
        write_table(folder / LABELS, table)
        complete(folder, manifest, manifest.shards())
    return table.num_rows, left_out


def add_texts(folder: Path, texts: Iterable[str], load: Callable[[Manifest], Backbone]) -> int:
    """Keep tokens of more prompts; returns how many prompts there are now."""
    with writing(folder):
        manifest = Manifest.read(folder)
        count = _add(folder, manifest, set(texts), load)
        complete(folder, manifest, manifest.shards())
    return count


def _add(
    folder: Path, manifest: Manifest, texts: set[str], load: Callable[[Manifest], Backbone]
) -> int:
    """Encode the missing prompts; the backbone is loaded only when there is one."""
    from featcache.finish import stored_prompts

    missing = texts - stored_prompts(folder, manifest).keys()
    return add_prompts(folder, manifest, texts, load(manifest) if missing else None)

"""Labels and prompts of a finished cache, changed without touching a feature."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from featcache.datasets.columns import LABELS_SCHEMA
from featcache.errors import DatasetError
from featcache.extraction.finish import complete
from featcache.extraction.plan import source_of
from featcache.extraction.prompts import add_prompts
from featcache.storage.layout import LABELS, SAMPLES
from featcache.storage.lock import writing
from featcache.storage.manifest import Manifest
from featcache.storage.tables import (
    SAMPLES_SCHEMA,
    labels_table,
    measured_labels,
    read_table,
    write_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from featcache.backbone import Backbone
    from featcache.datasets.base import Dataset


def relabel(
    folder: Path,
    dataset: Dataset,
    load: Callable[[Manifest], Backbone],
    *,
    append: bool = False,
) -> tuple[int, int]:
    """Write new labels, and the prompts that they need.

    Args:
        folder: A finished cache.
        dataset: Reads the new labels. An image is found by its id or, where the cache was made
            with another reader, by its path; labels of unknown images are left out.
        load: Loads the backbone of a manifest; called only when a prompt is missing.
        append: Keep the labels that are there.

    Returns:
        Number of label rows written, and of labels left out.
    """
    labels = dataset.labels()
    paths = {image.sample_id: image.path for image in dataset.images()}
    with writing(folder):
        manifest = Manifest.read(folder)
        samples = read_table(folder / SAMPLES, SAMPLES_SCHEMA)
        ids = samples["sample_id"].to_pylist()
        known, by_path = set(ids), dict(zip(samples["path"].to_pylist(), ids, strict=True))
        rows = []
        for label in labels:
            name = (
                label.sample_id if label.sample_id in known else by_path.get(paths[label.sample_id])
            )
            if name is not None:
                rows.append(replace(label, sample_id=name))
        left_out = len(labels) - len(rows)
        if labels and not rows:
            raise DatasetError(
                f"none of the {len(labels):,} labels of {dataset.root} belongs to an image of "
                f"{folder}: paths there look like {next(iter(paths.values()))!r}, here like "
                f"{next(iter(by_path), None)!r}"
            )
        rows += measured_labels(samples, rows, dataset.measured_queries)
        table = labels_table(rows)
        add_prompts(folder, manifest, {row.query for row in rows}, lambda: load(manifest))
        if append:
            import pyarrow as pa

            table = pa.concat_tables([read_table(folder / LABELS, LABELS_SCHEMA), table])
        write_table(folder / LABELS, table)
        manifest = manifest.with_labels_of(source_of(dataset), append=append)
        complete(folder, manifest, manifest.shards())
    return table.num_rows, left_out


def add_texts(folder: Path, texts: Iterable[str], load: Callable[[Manifest], Backbone]) -> int:
    """Keep tokens of more prompts; returns how many prompts there are now."""
    with writing(folder):
        manifest = Manifest.read(folder)
        count = add_prompts(folder, manifest, texts, lambda: load(manifest))
        complete(folder, manifest, manifest.shards())
    return count

"""Labels and prompts of a finished cache, changed without touching a feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from featcache.datasets.columns import LABELS_SCHEMA, distinct_labels
from featcache.errors import DatasetError
from featcache.extraction.finish import complete
from featcache.extraction.plan import source_of
from featcache.extraction.prompts import add_prompts
from featcache.storage.layout import LABELS, SAMPLES
from featcache.storage.lock import writing
from featcache.storage.manifest import Manifest
from featcache.storage.tables import (
    SAMPLES_SCHEMA,
    queries_of,
    read_table,
    with_measured,
    without_gone,
    write_table,
)
from featcache.wording import quantity

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
        append: Keep the labels that are there. Equal labels count once.

    Returns:
        Number of label rows that there are now, and of labels left out.

    Raises:
        DatasetError: There is no label, none belongs to an image of the cache, or a new label
            contradicts one that is there.
    """
    labels, images = dataset.labels_table(), dataset.images_table()
    with writing(folder):
        manifest = Manifest.read(folder)
        samples = without_gone(read_table(folder / SAMPLES, SAMPLES_SCHEMA))
        known = _of_samples(labels, images, samples)
        left_out = labels.num_rows - known.num_rows
        if labels.num_rows and not known.num_rows:
            here = samples["path"][0].as_py() if samples.num_rows else None
            raise DatasetError(
                f"{quantity(labels.num_rows, 'label')} in {dataset.root}, none for an image of "
                f"{folder}: paths there look like {images['path'][0].as_py()!r}, here like {here!r}"
            )
        if not known.num_rows and not dataset.measured_queries:
            raise DatasetError(
                f"{dataset.root} has no labels (of a table: no value), so those of {folder} stay"
            )
        if append:
            known = pa.concat_tables([read_table(folder / LABELS, LABELS_SCHEMA), known])
        table = with_measured(samples, known, dataset.measured_queries)
        try:
            table = distinct_labels(table, f"{folder} with the labels of {dataset.root}")
        except DatasetError as error:
            raise DatasetError(
                f"{error}" + ("; without --append, new labels replace the old ones" * append)
            ) from error
        add_prompts(folder, manifest, queries_of(table), lambda: load(manifest))
        write_table(folder / LABELS, table)
        manifest = manifest.with_labels_of(source_of(dataset), append=append)
        complete(folder, manifest, manifest.shards())
    return table.num_rows, left_out


def labels_of(dataset: Dataset, samples: pa.Table) -> pa.Table:
    """Read a data set's labels, with the ids of a cache's samples; others are left out."""
    return _of_samples(dataset.labels_table(), dataset.images_table(), samples)


def _of_samples(labels: pa.Table, images: pa.Table, samples: pa.Table) -> pa.Table:
    """Give labels the ids of the cache's samples, found by id, else by path; leave out others."""
    by_id: Any = pc.index_in(labels["sample_id"], value_set=samples["sample_id"])
    image: Any = pc.index_in(labels["sample_id"], value_set=images["sample_id"])
    by_path: Any = pc.index_in(images["path"].take(image), value_set=samples["path"])
    row = pc.coalesce(by_id, by_path)
    found = labels.filter(row.is_valid())
    ids = samples["sample_id"].take(row.drop_null())
    return found.set_column(0, LABELS_SCHEMA.field("sample_id"), ids)


def add_texts(folder: Path, texts: Iterable[str], load: Callable[[Manifest], Backbone]) -> int:
    """Keep tokens of more prompts; returns how many prompts there are now."""
    with writing(folder):
        manifest = Manifest.read(folder)
        count = add_prompts(folder, manifest, texts, lambda: load(manifest))
        complete(folder, manifest, manifest.shards())
    return count

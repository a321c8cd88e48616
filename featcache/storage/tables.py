"""samples.parquet and labels.parquet: schemas, building, reading, writing."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from featcache.datasets.columns import (
    LABELS_SCHEMA,
    decode,
    encode,
    first_rows,
    folds_of,
    repeated,
)
from featcache.datasets.paths import UNSAFE
from featcache.errors import CacheFormatError
from featcache.storage.durable import write_bytes
from featcache.storage.fingerprint import digest
from featcache.storage.records import SampleRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from featcache.storage.changes import Change

_SAMPLES: list[pa.Field[Any]] = [
    pa.field("sample_id", pa.string(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("sha256", pa.string()),
    pa.field("bytes", pa.int64()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("status", pa.string(), nullable=False),
    pa.field("error", pa.string()),
    pa.field("shard", pa.int32()),
    pa.field("row", pa.int32()),
    pa.field("brightness", pa.float64()),
    pa.field("contrast", pa.float64()),
    pa.field("colourfulness", pa.float64()),
]

SAMPLES_SCHEMA = pa.schema(_SAMPLES)
PLANNED_SCHEMA = pa.schema([pa.field("sample_id", pa.string(), nullable=False)])
GONE = "gone"  # the status of an image that the data set no longer has
DICTIONARY_BYTES = 1 << 28  # of a column's different texts; above it, each is written


def samples_table(
    shards: Iterable[tuple[int, Sequence[SampleRecord]]], changes: Iterable[Change] = ()
) -> pa.Table:
    """Build the samples table: a row for each image line of the shards, in order.

    Args:
        shards: Numbers and records of the shards.
        changes: What later shards say of images in earlier ones, in order; the last one about an
            image holds. An image that is gone keeps its row in the table, with the status `GONE`.
    """
    batches = []
    for shard, records in shards:
        columns: dict[str, list[object]] = {
            name: [getattr(record, name) for record in records]
            for name in SAMPLES_SCHEMA.names
            if name not in ("shard", "row")
        }
        counted = count()
        columns["shard"] = [shard] * len(records)
        columns["row"] = [next(counted) if record.ok else None for record in records]
        batches.append(pa.RecordBatch.from_pydict(columns, schema=SAMPLES_SCHEMA))
    return changed(pa.Table.from_batches(batches, SAMPLES_SCHEMA).combine_chunks(), changes)


def changed(samples: pa.Table, changes: Iterable[Change]) -> pa.Table:
    """Let changes take effect on a samples table."""
    numbers = np.asarray(samples["shard"], np.int64)
    last: dict[int, Change] = {}
    for change in changes:
        start, end = np.searchsorted(numbers, [change.shard, change.shard + 1]).tolist()
        if start + change.image >= end:
            continue  # its shard was lost before the cache was finished; what it held came again
        last[start + change.image] = change
    gone = {row: GONE for row, change in last.items() if change.gone}
    moved = {row: change for row, change in last.items() if not change.gone}
    for name, values in (
        ("status", gone),
        ("sample_id", {row: change.sample_id for row, change in moved.items()}),
        ("path", {row: change.path for row, change in moved.items()}),
    ):
        if values:
            mask = np.zeros(len(samples), bool)
            mask[list(values)] = True
            new = pa.array([values[row] for row in sorted(values)], pa.string())
            column: Any = samples[name]
            column = pc.replace_with_mask(column.combine_chunks(), pa.array(mask), new)
            field = SAMPLES_SCHEMA.field(name)
            samples = samples.set_column(SAMPLES_SCHEMA.names.index(name), field, column)
    return samples


def records_of(samples: pa.Table) -> list[SampleRecord]:
    """Return the rows of a samples table as records."""
    return [SampleRecord(**row) for row in samples.drop_columns(["shard", "row"]).to_pylist()]


def without_gone(samples: pa.Table) -> pa.Table:
    """Return the rows of images that are there, those that failed included."""
    return samples.filter(pc.field("status") != GONE)


def measured_labels(samples: pa.Table, labels: pa.Table, queries: Mapping[str, str]) -> pa.Table:
    """Make labels of what was measured on the pixels during the extraction.

    Args:
        samples: The samples table.
        labels: The data set's own labels, which say in which splits and folds an image lies.
        queries: Measure name to prompt, such as ``{"contrast": "sort images by contrast."}``.

    Returns:
        One label per readable image, measure, and (split, fold) of the image; ``all`` where the
        image has no label.
    """
    if not queries:
        return LABELS_SCHEMA.empty_table()
    readable = ok_samples(samples)
    found: Any = pc.index_in(labels["sample_id"], value_set=readable["sample_id"])
    image = pc.fill_null(found, -1).to_numpy().astype(np.int64)  # (n,) rows of readable images
    splits, folds = encode(labels["split"])[0], folds_of(labels)
    first = first_rows(image + 1, splits, folds + 1) == np.arange(len(image))
    place = np.flatnonzero(first & (image >= 0))  # (m,) labels: each place of an image once
    alone = np.setdiff1d(np.arange(readable.num_rows), image)  # (k,) images without a label
    names = ["image", "split", "fold"]
    labeled: list[Any] = [image[place], labels["split"].take(place), labels["fold"].take(place)]
    others: list[Any] = [alone, repeated("all", len(alone)), pa.nulls(len(alone), pa.int32())]
    where = pa.concat_tables([pa.table(labeled, names), pa.table(others, names)])
    where = where.take(np.argsort(where["image"].to_numpy(), kind="stable"))
    placed = readable.take(where["image"])
    parts = []
    for measure, query in queries.items():
        columns = [
            placed["sample_id"],
            repeated(measure, len(placed)),
            repeated(query, len(placed)),
            placed[measure],
            where["split"],
            where["fold"],
            pa.nulls(len(placed), LABELS_SCHEMA.field("distribution").type),
        ]
        parts.append(pa.table(columns, schema=LABELS_SCHEMA))
    return pa.concat_tables(parts)


def with_measured(samples: pa.Table, labels: pa.Table, queries: Mapping[str, str]) -> pa.Table:
    """Return labels followed by the measured ones (`measured_labels`)."""
    return pa.concat_tables([labels, measured_labels(samples, labels, queries)])


def queries_of(labels: pa.Table) -> set[str]:
    """Return the prompts that labels have."""
    return set(map(str, labels["query"].unique()))


def ok_samples(samples: pa.Table) -> pa.Table:
    """Return the rows of images that have features."""
    return samples.filter(pc.field("status") == "ok")


def content_digest(table: pa.Table) -> str:
    """Hash what a table says: 128 bits in hexadecimal.

    A Parquet file's bytes change with the library that wrote it; this does not, and neither does it
    depend on how a column is cut into chunks.
    """
    return digest([[f.name, str(f.type), *_column_digests(table[f.name])] for f in table.schema])


def _column_digests(column: pa.ChunkedArray[Any]) -> list[str]:
    """Hash a column's values, one after the other, and the length of each; -1 for a null."""
    values, lengths = xxhash.xxh3_128(), xxhash.xxh3_128()
    chunks: list[Any] = column.chunks
    for chunk in chunks:
        sizes: Any
        if pa.types.is_list(chunk.type):
            sizes, flat = pc.list_value_length(chunk), pc.fill_null(chunk.flatten(), 0)
        elif pa.types.is_string(chunk.type):
            sizes, flat = pc.binary_length(chunk), _letters(pc.fill_null(chunk, ""))
        else:
            sizes, flat = pc.if_else(chunk.is_valid(), 1, None), pc.fill_null(chunk, 0)
        sizes = pc.cast(pc.fill_null(sizes, pa.scalar(-1)), pa.int32())
        for state, array in ((values, flat), (lengths, sizes)):
            state.update(np.ascontiguousarray(array.to_numpy(zero_copy_only=False)).data)
    return [values.hexdigest(), lengths.hexdigest()]


def _letters(texts: Any) -> Any:
    """Return the UTF-8 of all texts, one after the other, as they lie in memory."""
    _, places, letters = texts.buffers()
    if letters is None or not len(texts):
        return pa.array([], pa.uint8())
    offsets = np.frombuffer(places, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return pa.array(np.frombuffer(letters, np.uint8)[offsets[0] : offsets[-1]])


def write_table(path: Path, table: pa.Table) -> bool:
    """Write a Parquet file atomically; the bytes depend on the table alone.

    Returns:
        Whether anything was written: a file that has the same bytes already stays.
    """
    stream = pa.BufferOutputStream()
    table = table.combine_chunks()  # or the bytes would depend on how it was put together
    layout: dict[str, Any] = {}
    if table.schema.names == LABELS_SCHEMA.names:
        # An image may have many labels. Each text stands in the file once, so that it is read, and
        # looked up, once: `read_table` with ``coded``.
        layout = {
            "row_group_size": max(1, table.num_rows),
            "dictionary_pagesize_limit": DICTIONARY_BYTES,
        }
    pq.write_table(table, stream, compression="zstd", write_page_checksum=True, **layout)
    content = stream.getvalue().to_pybytes()
    if path.is_file() and path.read_bytes() == content:
        return False
    write_bytes(path, content)
    return True


def read_table(
    path: Path, schema: pa.Schema, columns: Sequence[str] | None = None, *, coded: bool = False
) -> pa.Table:
    """Read a Parquet file and check its columns.

    Args:
        path: The file.
        schema: The columns that it must have.
        columns: Names of those that are read; None for all.
        coded: Leave texts as codes of dictionaries, one for each row group; `decoded` undoes it.

    Raises:
        CacheFormatError: It is missing, damaged, has other columns, or paths that lead elsewhere.
    """
    try:
        if not path.is_file() and path.exists():  # to open a pipe would wait for ever
            raise CacheFormatError(f"{path}: a folder, pipe or device, expected a file")
        # Of a file alone: a folder called lr=0.1 on its way is a folder, no column.
        with pq.ParquetFile(
            path,
            page_checksum_verification=True,
            memory_map=False,
            read_dictionary=_texts(schema) if coded else None,
        ) as file:
            stored = file.schema_arrow
            found = _columns(stored)  # decodes names, which may be damaged
            fits = stored == (_coded(schema) if coded else schema)
            table = file.read(list(columns) if columns else None) if fits else None
    except FileNotFoundError as error:
        raise CacheFormatError(f"{path}: missing; `featcache repair` rebuilds it") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CacheFormatError(f"{path}: unreadable: {error}") from error
    if table is None:
        raise CacheFormatError(f"{path}: columns are {found}, expected {_columns(schema)}")
    if {"path", "status"} <= set(table.column_names):
        _require_relative(path, table)
    return table


def decoded(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table that was read as codes with its texts."""
    for name in _texts(schema):
        chunks: list[Any] = table[name].chunks
        texts = [decode(chunk.indices.to_numpy(), chunk.dictionary).chunks for chunk in chunks]
        column = pa.chunked_array([chunk for part in texts for chunk in part], pa.string())
        table = table.set_column(schema.names.index(name), schema.field(name), column)
    return table


def _texts(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if pa.types.is_string(field.type)]


def _coded(schema: pa.Schema) -> pa.Schema:
    for name in _texts(schema):
        field = schema.field(name).with_type(pa.dictionary(pa.int32(), pa.string()))
        schema = schema.set(schema.names.index(name), field)
    return schema


def _require_relative(path: Path, table: pa.Table) -> None:
    """Refuse paths that lead outside the data set's folder; failed images keep theirs as text."""
    paths = ok_samples(table)["path"]
    unsafe = paths.filter(pc.match_substring_regex(paths, UNSAFE))
    if len(unsafe):
        raise CacheFormatError(
            f"{path}: {len(unsafe)} unsafe paths, the first {unsafe[0].as_py()!r}; "
            "expected a relative path without '..'"
        )


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)

"""Images and labels in columns: the tables that data sets hand over, and the rules they obey.

A reader may list records (``ImageRecord``, ``Label``) or build these tables; ten million rows
are for tables only. Strings are compared as codes of a dictionary, so no row becomes a Python
object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute

from featcache.datasets.records import LARGEST_VALUE, SPLITS, ImageRecord, Label
from featcache.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    Column = pa.Array[Any] | pa.ChunkedArray[Any]

pc: Any = pyarrow.compute  # its stubs take no text for a scalar

_IMAGES: list[pa.Field[Any]] = [
    pa.field("sample_id", pa.string(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
]
_LABELS: list[pa.Field[Any]] = [
    pa.field("sample_id", pa.string(), nullable=False),
    pa.field("task", pa.string(), nullable=False),
    pa.field("query", pa.string(), nullable=False),
    pa.field("value", pa.float64(), nullable=False),
    pa.field("split", pa.string(), nullable=False),
    pa.field("fold", pa.int32()),
    # "element" is Parquet's own name; with another one, a table would change by being read.
    pa.field("distribution", pa.list_(pa.field("element", pa.float32()))),
]
IMAGES_SCHEMA = pa.schema(_IMAGES)
LABELS_SCHEMA = pa.schema(_LABELS)

CHUNK = 1 << 20  # rows of a chunk: far below the 2 GB of text that one array of strings can hold


class ImageRecords(Sequence[ImageRecord]):
    """A table of images that reads like a list of records; its slices share its memory.

    Attributes:
        table: The images, with the columns of `IMAGES_SCHEMA`.
    """

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        """Return the number of images."""
        return self.table.num_rows

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> ImageRecords: ...
    def __getitem__(self, index: int | slice) -> ImageRecord | ImageRecords:
        """Return one image, or some of them."""
        if isinstance(index, int):
            numbers = range(len(self))[index]  # raises IndexError as a list does
            return next(image_records(self.table.slice(numbers, 1)))
        start, stop, step = index.indices(len(self))
        if step != 1:
            return ImageRecords(self.table.take(list(range(start, stop, step))))
        return ImageRecords(self.table.slice(start, max(0, stop - start)))

    def __iter__(self) -> Iterator[ImageRecord]:
        """Yield the images in order."""
        return image_records(self.table)

    def __eq__(self, other: object) -> bool:
        """Compare with any sequence of images."""
        return isinstance(other, Sequence) and list(self) == list(other)


def images_of(records: Iterable[ImageRecord]) -> pa.Table:
    """Build a table of images from records."""
    if isinstance(records, ImageRecords):
        return records.table
    return _table(records, IMAGES_SCHEMA)


def joined(parts: Iterable[Sequence[ImageRecord]]) -> ImageRecords:
    """Return images of several sequences as one."""
    tables = [images_of(part) for part in parts]
    return ImageRecords(pa.concat_tables([IMAGES_SCHEMA.empty_table(), *tables]))


def labels_of(records: Iterable[Label]) -> pa.Table:
    """Build a table of labels from records."""
    return _table(records, LABELS_SCHEMA)


def label_columns(
    sample_id: Column,
    value: NDArray[np.float64],
    *,
    task: str,
    query: str | Column,
    split: str | Column,
    distribution: NDArray[np.float64] | None = None,
) -> pa.Table:
    """Build a table of labels from columns.

    Args:
        sample_id: Text [n].
        value: float64 [n].
        task: Of all labels.
        query: Of all labels, or of each [n].
        split: Of all labels, or of each [n].
        distribution: float64 [n, r], shares of r ratings.
    """
    count, kind = len(sample_id), LABELS_SCHEMA.field("distribution").type
    shares: Any = pa.nulls(count, kind)
    if distribution is not None:
        offsets = np.arange(count + 1, dtype=np.int32) * distribution.shape[1]
        flat = pa.array(distribution.reshape(-1), pa.float32(), safe=False)
        shares = pa.ListArray.from_arrays(pa.array(offsets), flat).cast(kind)
    columns = [
        sample_id,
        repeated(task, count),
        repeated(query, count) if isinstance(query, str) else query,
        pa.array(value, pa.float64()),
        repeated(split, count) if isinstance(split, str) else split,
        pa.nulls(count, pa.int32()),
        shares,
    ]
    return pa.table(columns, schema=LABELS_SCHEMA)


def image_records(images: pa.Table) -> Iterator[ImageRecord]:
    """Yield the rows of a table of images."""
    for batch in images.to_batches(max_chunksize=CHUNK):
        for row in batch.to_pylist():
            yield ImageRecord(**row)


def label_records(labels: pa.Table) -> Iterator[Label]:
    """Yield the rows of a table of labels."""
    for batch in labels.to_batches(max_chunksize=CHUNK):
        for row in batch.to_pylist():
            row["distribution"] = row["distribution"] and tuple(row["distribution"])
            yield Label(**row)


def encode(column: Column) -> tuple[NDArray[np.int64], pa.Array[Any]]:
    """Return a column without nulls as codes int64 [n], in the order of appearance, and names.

    A name is in the dictionary once, so equal codes are equal values.
    """
    encoded: Any = column.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary


def places(texts: Column, among: pa.Array[Any]) -> NDArray[np.int64]:
    """Return where each text [n] stands among others, int64 [n]; -1 where it does not.

    Of texts that are codes of dictionaries, each dictionary's are looked up once.
    """
    if isinstance(texts, pa.ChunkedArray) and pa.types.is_dictionary(texts.type):
        parts = [places(chunk, among) for chunk in texts.chunks]
        return np.concatenate([np.empty(0, np.int64), *parts])
    if isinstance(texts, pa.DictionaryArray):
        entries, codes = places(texts.dictionary, among), np.asarray(texts.indices, np.int64)
        return entries[codes]
    return np.asarray(pc.fill_null(pc.index_in(texts, value_set=among), -1), np.int64)


def decode(codes: NDArray[Any], names: pa.Array[Any]) -> pa.ChunkedArray[Any]:
    """Return the names of codes [n]: the inverse of `encode`."""
    chunks = [names.take(codes[n : n + CHUNK]) for n in range(0, len(codes), CHUNK)]
    return pa.chunked_array(chunks, names.type)


def repeated(value: str, count: int) -> pa.ChunkedArray[Any]:
    """Return a column of one text."""
    return decode(np.zeros(count, np.int64), pa.array([value], pa.string()))


def first_rows(*codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find, for every row, the first row that has the same codes.

    Args:
        codes: Integers of 0 and more, each [n].

    Returns:
        int64 [n]; a row that is its own first row is not a repetition.
    """
    key = combined(*codes)
    order = np.argsort(key, kind="stable")
    ranked = key[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]][: len(ranked)])
    out = np.empty(len(key), np.int64)
    out[order] = np.repeat(order[starts], np.diff(np.r_[starts, len(order)]))
    return out


def combined(*codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Combine codes of 0 and more, each [n], into one code that is equal where all are equal."""
    key, size = codes[0], int(codes[0].max(initial=0)) + 1
    for code in codes[1:]:
        more = int(code.max(initial=0)) + 1
        if size * more >= 1 << 62:
            names, key = np.unique(key, return_inverse=True)
            size = len(names)
        key, size = key * more + code, size * more
    return key


def label_codes(labels: pa.Table) -> list[NDArray[np.int64]]:
    """Return what makes two labels the same one: codes of sample, task, query, split and fold."""
    texts = [encode(labels[name])[0] for name in ("sample_id", "task", "query", "split")]
    return [*texts, folds_of(labels) + 1]


def folds_of(labels: pa.Table) -> NDArray[np.int64]:
    """Return the folds of labels int64 [n]; -1 holds for every fold."""
    filled: NDArray[np.int64] = pc.fill_null(labels["fold"], -1).to_numpy().astype(np.int64)
    return filled


def check_images(images: pa.Table) -> None:
    """Refuse ids that a cache cannot hold: it stores them as UTF-8 without zero bytes."""
    for name in IMAGES_SCHEMA.names:
        bad = pc.index(pc.match_substring_regex(images[name], r"^$|\x00"), pa.scalar(True)).as_py()
        if bad >= 0:
            raise _not_storable(images[name][bad].as_py())
    ids, names = encode(images["sample_id"])
    if len(names) < len(ids):
        twice = str(names[int(np.argmax(np.bincount(ids)))])
        raise DatasetError(f"the data set lists the sample id {twice!r} twice")


def _not_storable(text: str) -> DatasetError:
    return DatasetError(f"{text!r} is not valid as UTF-8 text without zero bytes; rename the file")


def distinct_images(images: pa.Table, title: str) -> pa.Table:
    """Return each image once; raises DatasetError when two images have one id."""
    ids, _ = encode(images["sample_id"])
    paths, _ = encode(images["path"])
    first = first_rows(ids)
    if (bad := np.flatnonzero(paths != paths[first])).size:
        here, there = images["path"][int(bad[0])], images["path"][int(first[bad[0]])]
        raise DatasetError(
            f"{title}: {here} and {there} have the same id "
            f"{images['sample_id'][int(bad[0])].as_py()!r}; expected one image for an id"
        )
    return kept(images, first == np.arange(len(first)))


def distinct_labels(labels: pa.Table, title: str) -> pa.Table:
    """Return each label once.

    Raises:
        DatasetError: Two labels contradict each other, or one has a value or split that no label
            can have.
    """
    check_labels(labels, title)
    first = first_rows(*label_codes(labels))
    again = np.flatnonzero(first != np.arange(len(first)))
    if again.size and (bad := contradictions(labels, first, again)).size:
        new, old = int(bad[0]), int(first[bad[0]])
        raise DatasetError(
            f"{title}: {labels['sample_id'][new].as_py()!r} has the values "
            f"{labels['value'][old].as_py():g} and {labels['value'][new].as_py():g} for "
            f"{labels['query'][new].as_py()!r}; expected one"
        )
    return kept(labels, first == np.arange(len(first)))


def check_labels(labels: pa.Table, title: str) -> None:
    """Raise DatasetError for a value that is not a usable number, or an unknown split."""
    values = labels["value"].to_numpy()
    if (bad := np.flatnonzero(~(np.abs(values) <= LARGEST_VALUE))).size:
        row = int(bad[0])
        raise DatasetError(
            f"{title}: {labels['sample_id'][row].as_py()!r} has the value {values[row]:g} for "
            f"{labels['query'][row].as_py()!r}; expected a number of at most {LARGEST_VALUE:g}"
        )
    if unknown := set(map(str, pc.unique(labels["split"]))) - set(SPLITS):
        raise DatasetError(f"{title}: found split {min(unknown)!r}, expected {', '.join(SPLITS)}")


def contradictions(
    labels: pa.Table, first: NDArray[np.int64], again: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return those of the rows ``again`` whose value or distribution is not that of the first."""
    values: NDArray[np.float64] = labels["value"].to_numpy()
    differ: NDArray[np.bool_] = values[again] != values[first[again]]
    shares = labels["distribution"]
    if not differ.any() and shares.null_count < len(shares):
        new, old = shares.take(again), shares.take(first[again])
        if not new.equals(old):
            differ = np.array([not new[n].equals(old[n]) for n in range(len(again))], bool)
    return again[differ]


def kept(table: pa.Table, mask: NDArray[np.bool_]) -> pa.Table:
    """Return the rows of a table that a mask [n] keeps; the table itself where it keeps all."""
    return table if mask.all() else table.filter(pa.array(mask))


def belonging(labels: pa.Table, images: pa.Table) -> pa.Table:
    """Return the labels whose sample is among the images."""
    return kept(
        labels,
        pc.is_in(labels["sample_id"], value_set=images["sample_id"]).to_numpy(),
    )


def _table(records: Iterable[ImageRecord | Label], schema: pa.Schema) -> pa.Table:
    rows: Sequence[Any] = list(records)
    columns = {name: [getattr(row, name) for row in rows] for name in schema.names}
    try:
        return pa.table(columns, schema=schema)
    except UnicodeEncodeError as error:
        raise _not_storable(str(error.object)) from error

"""The formats that read.py compares: how each is written, and how batches are read from it.

The same float16 tokens [N, 100, 768] are written in every format. A reader delivers batches of 64
images as one array [64, 100, 768]: formats with random access random rows, formats made for
streaming (WebDataset, MosaicML Streaming, LitData) what they stream, shuffled in their own way.
"""

from __future__ import annotations

import functools
import mmap
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from featcache import Cache
from featcache.datasets.columns import labels_of
from featcache.datasets.records import Label
from featcache.storage.entries import FileEntry
from featcache.storage.fingerprint import Fingerprint
from featcache.storage.layout import LABELS, SAMPLES, Shapes, shard_name
from featcache.storage.manifest import Manifest
from featcache.storage.quantize import quantize
from featcache.storage.records import SampleRecord
from featcache.storage.shard import ShardContent, write_shard
from featcache.storage.tables import samples_table, write_table

if TYPE_CHECKING:
    from pathlib import Path

P, C, E = 100, 768, 768
QUERY = "sort images by number."
BATCH = 64
SHARD = 512
ROW_BYTES = P * C * 2

Array = np.ndarray[Any, np.dtype[Any]]
Batches = Generator[Array, None, None]


def make_data(count: int) -> Array:
    """Random tokens [N, P, C]; the first two values of an image tell its row."""
    generator = np.random.default_rng(0)
    block = generator.standard_normal((256, P, C), np.float32).astype(np.float16)
    data = np.empty((count, P, C), np.float16)
    for start in range(0, count, 256):
        part = data[start : start + 256]
        part[:] = np.roll(block, start // 256, axis=1)[: len(part)]
    rows = np.arange(count)
    data[:, 0, 0], data[:, 0, 1] = rows // 1024, rows % 1024
    return data


def random_rows(count: int) -> Iterator[Array]:
    """Rows of random batches, epoch after epoch: each row once in each, as a training reads."""
    generator = np.random.default_rng(1)
    while True:
        order = generator.permutation(count)
        yield from order[: count - count % BATCH].reshape(-1, BATCH)


@dataclass
class Reader:
    """One line of the table: how a format is written, and how it is read.

    Attributes:
        name: What is read and how.
        write: Writes the data into a folder.
        read: Opens the folder and yields batches.
        package: What has to be installed.
        share: Name of the reader whose folder this one reads too.
    """

    name: str
    write: Callable[[Path, Array], None]
    read: Callable[[Path, int], Batches]
    package: str = "numpy"
    share: str | None = None
    warm: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)


def content(data: Array, dtype: str, start: int) -> ShardContent:
    """Return one shard's content."""
    part = data[start : start + SHARD, None]  # [n, 1, P, C]
    tokens, scales = quantize(part.astype(np.float32)) if dtype == "int8" else (part, None)
    return ShardContent(
        records=[
            SampleRecord(sample_id=f"{start + n:08d}", path=f"{start + n:08d}.jpg", status="ok")
            for n in range(len(part))
        ],
        tokens=tokens,
        scales=scales,
        pooled=np.zeros((len(part), 1, E), np.float32),
    )


def write_featcache(folder: Path, data: Array, dtype: str = "float16") -> None:
    (folder / "shards").mkdir(parents=True)
    fingerprint = Fingerprint(
        backbone={"architecture": "none", "weights": "none"},
        preprocessing={},
        views=("original",),
        dtype=dtype,
    )
    files, records = {}, []
    for number, start in enumerate(range(0, len(data), SHARD)):
        path = folder / shard_name(number)
        shard = content(data, dtype, start)
        files[shard_name(number)] = write_shard(
            path, shard, index=number, fingerprint=fingerprint.digest
        )
        records.append((number, shard.records))
    labels = [
        Label(record.sample_id, "random", QUERY, float(row), "train")
        for row, record in enumerate(record for _, part in records for record in part)
    ]
    tables = {SAMPLES: samples_table(records), LABELS: labels_of(labels)}
    for name, table in tables.items():
        write_table(folder / name, table)
        files[name] = FileEntry.of(folder / name)
    shapes = Shapes(num_tokens=P, token_dim=C, pooled_dim=E, context_length=77, text_dim=768)
    Manifest(
        dataset={"name": "random"},
        fingerprint=fingerprint,
        shapes=shapes,
        shard_size=SHARD,
        backbone={},
        provenance={},
    ).with_files(files).write(folder)


@functools.cache
def target(behind: int = 0) -> Array:
    """The one array that every reader that can fill an array fills, [BATCH, P, C] float16.

    With arrays of their own, readers would differ in which pages of memory these got. It begins
    ``behind`` bytes after the start of a page.
    """
    size = BATCH * ROW_BYTES
    first = -_memory().ctypes.data % mmap.PAGESIZE + behind
    return _memory()[first : first + size].view(np.float16).reshape(BATCH, P, C)


@functools.cache
def _memory() -> Array:
    memory = np.empty(BATCH * ROW_BYTES + 2 * mmap.PAGESIZE, np.uint8)
    memory[:] = 0  # the system gives the pages now
    return memory


def read_featcache(folder: Path, count: int) -> Batches:
    cache, out = Cache.open(folder), target()
    for rows in random_rows(count):
        yield cache.tokens(rows, out=out)


def read_featcache_numpy(folder: Path, count: int) -> Batches:
    cache, out = Cache.open(folder), target(16)  # as numpy.empty begins
    for rows in random_rows(count):
        yield cache.tokens(rows, out=out)


def read_featcache_torch(folder: Path, count: int) -> Batches:
    """`CacheDataset` in torch's own loader, in this process; it stacks the images once more."""
    import torch
    from torch.utils.data import DataLoader

    from featcache.torch import CacheDataset

    data = CacheDataset(folder, query=QUERY)
    generator = torch.Generator().manual_seed(1)
    while True:
        loader = DataLoader(data, BATCH, shuffle=True, drop_last=True, generator=generator)
        for batch in loader:
            yield batch["tokens"].numpy()


def write_npy(folder: Path, data: Array) -> None:
    folder.mkdir()
    np.save(folder / "tokens.npy", data, allow_pickle=False)


def read_memmap(folder: Path, count: int) -> Batches:
    """`take` into an array that is used again, without numpy's buffered default mode."""
    tokens = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)
    out = target()
    for rows in random_rows(count):
        yield np.take(tokens, rows, axis=0, out=out, mode="clip")


def read_memmap_index(folder: Path, count: int) -> Batches:
    tokens = np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False)
    for rows in random_rows(count):
        yield tokens[rows]


def read_memcpy(folder: Path, count: int) -> Batches:
    """Copy 64 consecutive images from a random place of an array in memory."""
    tokens = np.load(folder / "tokens.npy", allow_pickle=False)
    out = target()
    for rows in random_rows(count - BATCH):
        start = int(rows[0])
        np.copyto(out, tokens[start : start + BATCH])
        yield out


def write_h5(folder: Path, data: Array, chunks: tuple[int, ...] | None = None) -> None:
    folder.mkdir()
    with h5py.File(folder / "tokens.h5", "w") as file:
        file.create_dataset("tokens", data=data, chunks=chunks)


def read_h5_index(folder: Path, count: int) -> Batches:
    """Fancy indexing, which h5py allows on increasing rows only."""
    with h5py.File(folder / "tokens.h5") as file:
        for rows in random_rows(count):
            yield file["tokens"][np.sort(rows)]


def read_h5_rows(folder: Path, count: int) -> Batches:
    out = target()
    with h5py.File(folder / "tokens.h5") as file:
        tokens = file["tokens"]
        for rows in random_rows(count):
            for position, row in enumerate(rows.tolist()):
                tokens.read_direct(out, np.s_[row], np.s_[position])
            yield out


def write_zarr(folder: Path, data: Array) -> None:
    import zarr

    array = zarr.create_array(
        folder, shape=data.shape, chunks=(1, P, C), dtype=data.dtype, compressors=None
    )
    array[:] = data


def read_zarr(folder: Path, count: int) -> Batches:
    import zarr

    array = zarr.open_array(folder, mode="r")
    for rows in random_rows(count):
        yield np.asarray(array.oindex[np.sort(rows)])


def write_webdataset(folder: Path, data: Array) -> None:
    import webdataset

    folder.mkdir()
    pattern = str(folder / "%05d.tar")
    with webdataset.ShardWriter(pattern, maxcount=SHARD, verbose=0) as writer:
        for row, tokens in enumerate(data):
            writer.write({"__key__": f"{row:08d}", "tokens.bin": tokens.tobytes()})


def read_webdataset(folder: Path, count: int) -> Batches:
    import webdataset

    urls = sorted(str(path) for path in folder.glob("*.tar"))
    while True:
        samples = webdataset.WebDataset(urls, shardshuffle=len(urls), empty_check=False)
        batch = []
        for sample in samples.shuffle(512):
            batch.append(np.frombuffer(sample["tokens.bin"], np.float16).reshape(P, C))
            if len(batch) == BATCH:
                yield np.stack(batch)
                batch = []


def write_mosaic(folder: Path, data: Array) -> None:
    from streaming import MDSWriter

    columns = {"tokens": f"ndarray:float16:{P},{C}"}
    with MDSWriter(out=str(folder), columns=columns, size_limit=SHARD * ROW_BYTES) as writer:
        for tokens in data:
            writer.write({"tokens": tokens})


def read_mosaic(folder: Path, count: int) -> Batches:
    from streaming import StreamingDataset

    while True:
        dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=BATCH)
        batch = []
        for sample in dataset:
            batch.append(sample["tokens"])
            if len(batch) == BATCH:
                yield np.stack(batch)
                batch = []


def read_mosaic_rows(folder: Path, count: int) -> Batches:
    from streaming import StreamingDataset

    dataset = StreamingDataset(local=str(folder), batch_size=BATCH)
    for rows in random_rows(count):
        yield np.stack([dataset[row]["tokens"] for row in rows.tolist()])


@dataclass
class _Row:
    """Gives LitData one image; at module level, as its writer processes import it."""

    path: str

    def __call__(self, row: int) -> Array:
        return np.array(np.load(self.path, mmap_mode="r", allow_pickle=False)[row])


def write_litdata(folder: Path, data: Array) -> None:
    import litdata

    source = folder.with_suffix(".npy")
    np.save(source, data, allow_pickle=False)
    litdata.optimize(
        fn=_Row(str(source)),
        inputs=list(range(len(data))),
        output_dir=str(folder),
        chunk_bytes=SHARD * ROW_BYTES,
        num_workers=1,
    )
    source.unlink()


def read_litdata(folder: Path, count: int) -> Batches:
    import litdata

    while True:
        dataset = litdata.StreamingDataset(str(folder), shuffle=True)
        batch = []
        for tokens in dataset:
            batch.append(tokens)
            if len(batch) == BATCH:
                yield np.stack(batch)
                batch = []


def readers() -> list[Reader]:
    chunked = lambda folder, data: write_h5(folder, data, (1, P, C))  # noqa: E731
    return [
        Reader("featcache", write_featcache, read_featcache),
        Reader(
            "featcache, into numpy.empty", write_featcache, read_featcache_numpy, share="featcache"
        ),
        Reader(
            "featcache.torch in a DataLoader",
            write_featcache,
            read_featcache_torch,
            "torch",
            share="featcache",
        ),
        Reader("memcpy of 64 consecutive images", write_npy, read_memcpy),
        Reader(
            "numpy.memmap, take", write_npy, read_memmap, share="memcpy of 64 consecutive images"
        ),
        Reader(
            "numpy.memmap, fancy index",
            write_npy,
            read_memmap_index,
            share="memcpy of 64 consecutive images",
        ),
        Reader(
            "featcache, int8 stored",
            lambda folder, data: write_featcache(folder, data, "int8"),
            read_featcache,
            "torch",
        ),
        Reader("h5py contiguous, fancy index", write_h5, read_h5_index),
        Reader(
            "h5py contiguous, row loop",
            write_h5,
            read_h5_rows,
            share="h5py contiguous, fancy index",
        ),
        Reader("h5py chunk per image, fancy index", chunked, read_h5_index),
        Reader(
            "h5py chunk per image, row loop",
            chunked,
            read_h5_rows,
            share="h5py chunk per image, fancy index",
        ),
        Reader("zarr chunk per image, orthogonal index", write_zarr, read_zarr, "zarr"),
        Reader("WebDataset, stream", write_webdataset, read_webdataset, "webdataset"),
        Reader("MosaicML Streaming, stream", write_mosaic, read_mosaic, "streaming"),
        Reader(
            "MosaicML Streaming, random rows",
            write_mosaic,
            read_mosaic_rows,
            "streaming",
            share="MosaicML Streaming, stream",
        ),
        Reader("LitData, stream", write_litdata, read_litdata, "litdata"),
    ]


def folder_of(root: Path, reader: Reader) -> Path:
    name = reader.share or reader.name
    return root / "".join(c if c.isalnum() else "-" for c in name)

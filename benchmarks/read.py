"""Reading random batches of tokens: featcache beside plain memory, plain files and other formats.

    python benchmarks/read.py --folder /tmp/bench          # 8,192 images: 1.26 GB per format

The same float16 tokens [N, 100, 768] are written in every format. A reader delivers batches of 64
images as one array [64, 100, 768]. Formats with random access are asked for random rows; formats
made for streaming (WebDataset, MosaicML Streaming, LitData) stream, shuffled in their own way.
All of them read in one process and one thread, into the page cache's speed when warm; cold means
that the files' pages were dropped (`posix_fadvise(POSIX_FADV_DONTNEED)`) and the reader is a new
process, whose start is not counted.

Readers that can fill an array fill one that begins at a cache line, as torch allocates them.
`numpy.empty` begins 16 bytes behind a page, where copying rows from the start of a page takes
twice as long; the line "featcache, into numpy.empty" shows it.

Rounds go around all readers in random order, and the best round of each counts: on a shared
machine, noise only slows down. The first batch of each reader is compared with the data, bit for
bit. Formats that are not installed (`pip install 'featcache[bench]'`) are named and left out.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.util
import io
import json
import mmap
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from featcache import Cache
from featcache.storage.fingerprint import Fingerprint
from featcache.storage.layout import Shapes, shard_name
from featcache.storage.manifest import Manifest
from featcache.storage.quantise import quantise
from featcache.storage.shard import SampleRecord, ShardContent, write_shard
from featcache.upkeep.integrity import check_files

P, C, E = 100, 768, 768
BATCH = 64
SHARD = 512
ROW_BYTES = P * C * 2
SECONDS = 0.1  # that a round reads at least: 200 batches at the speed of memory

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
    tokens, scales = quantise(part.astype(np.float32)) if dtype == "int8" else (part, None)
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
    files = {}
    for number, start in enumerate(range(0, len(data), SHARD)):
        path = folder / shard_name(number)
        shard = content(data, dtype, start)
        files[shard_name(number)] = write_shard(
            path, shard, index=number, fingerprint=fingerprint.digest
        )
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

    Arrays of their own would differ in which pages of memory they got, and by up to a factor of
    1.7 in speed. This one begins ``behind`` bytes after the start of a page.
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


def drop_pages(folder: Path) -> None:
    """Write back and drop the page cache of all files below a folder."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def check(batch: Array, data: Array) -> None:
    """Make sure that a batch holds images of the data, bit for bit."""
    rows = batch[:, 0, 0].astype(int) * 1024 + batch[:, 0, 1].astype(int)
    if not np.array_equal(batch, data[rows]):
        raise RuntimeError("a reader delivered other data than was written")


def measure(batches: Batches, count: int, seconds: float = 0) -> float:
    """Return GB/s of ``count`` batches, or of as many as ``seconds`` allow if that is more."""
    done, start = 0, time.perf_counter()
    while done < count or time.perf_counter() - start < seconds:
        next(batches)
        done += 1
    return done * BATCH * ROW_BYTES / (time.perf_counter() - start) / 1e9


def measure_cold(root: Path, reader: Reader, options: argparse.Namespace) -> float:
    """Return GB/s of the first batches that a new process reads from the disk."""
    drop_pages(folder_of(root, reader))
    command = [
        *(sys.executable, __file__, "--folder", str(root), "--images", str(options.images)),
        *("--batches", str(options.batches), "--cold-reader", reader.name),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def read_cold(options: argparse.Namespace) -> None:
    """What that process does; everything is imported before the clock starts."""
    reader = next(r for r in readers() if r.name == options.cold_reader)
    importlib.import_module(reader.package)
    batches = reader.read(folder_of(options.folder, reader), options.images)
    print(measure(batches, options.batches))


def warm_up(batches: Batches, count: int, seconds: float = 2) -> None:
    """Read until most rows were seen, or for some seconds."""
    end = time.perf_counter() + seconds
    while count and time.perf_counter() < end:
        next(batches)
        count -= 1


def write_speed(root: Path, data: Array, rounds: int) -> tuple[float, float]:
    """Return GB/s of shards, and of the same bytes by plain sequential writes, fsynced."""
    shard = content(data, "float16", 0)
    path = root / "write.h5"
    ours, plain = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        write_shard(path, shard, index=0, fingerprint="0" * 32)
        ours.append(time.perf_counter() - start)
        size = path.stat().st_size
        payload = memoryview(path.read_bytes())
        path.unlink()
        start = time.perf_counter()
        with path.open("wb", buffering=0) as stream:
            rest = payload
            while rest:
                rest = rest[stream.write(rest) :]
            os.fsync(stream.fileno())
        plain.append(time.perf_counter() - start)
        path.unlink()
    return size / min(ours) / 1e9, size / min(plain) / 1e9


def verify_speed(folder: Path, count: int, rounds: int) -> tuple[float, float, float]:
    """Return GB/s of one pass over all rows: trusting, verifying, and verified before."""
    order = np.random.default_rng(2).permutation(count)
    batches = [order[n : n + BATCH] for n in range(0, count - BATCH + 1, BATCH)]
    out = target()

    def once(cache: Cache) -> float:
        start = time.perf_counter()
        for rows in batches:
            cache.tokens(rows, out=out)
        return len(batches) * BATCH * ROW_BYTES / (time.perf_counter() - start) / 1e9

    results = []
    for _ in range(rounds):
        careful = Cache.open(folder, verify_rows=True)
        results.append((once(Cache.open(folder)), once(careful), once(careful)))
    best = np.max(results, axis=0)
    return float(best[0]), float(best[1]), float(best[2])


def check_speed(folder: Path, rounds: int) -> tuple[float, float]:
    """Return GB/s of checking all shards as `featcache verify` does, and of plain reading."""
    manifest = Manifest.read(folder)
    size = sum(entry.bytes for entry in manifest.files.values())
    buffer = bytearray(1 << 22)
    ours, plain = [], []
    for _ in range(rounds):
        drop_pages(folder)
        start = time.perf_counter()
        if check_files(folder, manifest, manifest.files):
            raise RuntimeError("shards that were just written are damaged")
        ours.append(time.perf_counter() - start)
        drop_pages(folder)
        start = time.perf_counter()
        for name in manifest.files:
            with (folder / name).open("rb", buffering=0) as stream:
                while stream.readinto(buffer):
                    pass
        plain.append(time.perf_counter() - start)
    return size / min(ours) / 1e9, size / min(plain) / 1e9


def hash_speed(data: Array) -> float:
    """Return GB/s of XXH3-128 over rows."""
    start = time.perf_counter()
    for row in data[:1024]:
        xxhash.xxh3_128_digest(row.data)
    return 1024 * ROW_BYTES / (time.perf_counter() - start) / 1e9


def table(used: list[Reader], cold: bool) -> str:
    """Format the table: GB/s, and the ratio of featcache to each."""
    ours = used[0]
    lines = io.StringIO()
    lines.write("| reader | warm GB/s | featcache is | cold GB/s | featcache is |\n")
    lines.write("|---|---:|---:|---:|---:|\n")
    for reader in used:
        warm = max(reader.warm)
        line = f"| {reader.name} | {warm:.2f} | {max(ours.warm) / warm:.2f}x "
        if cold and reader.cold:
            line += f"| {max(reader.cold):.2f} | {max(ours.cold) / max(reader.cold):.2f}x |"
        else:
            line += "| | |"
        lines.write(line + "\n")
    return lines.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="made, filled and removed")
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=12, help="per reader and round, at least")
    parser.add_argument("--cold-rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument("--cold-reader", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cold_reader:
        read_cold(options)
        return

    data = make_data(options.images)
    used: list[Reader] = []
    missing: list[Reader] = []
    for reader in readers():
        found = importlib.util.find_spec(reader.package)
        (used if found else missing).append(reader)
    options.folder.mkdir(parents=True)
    try:
        for reader in used:
            if reader.share is None:
                print(f"writing {reader.name}", file=sys.stderr, flush=True)
                reader.write(folder_of(options.folder, reader), data)
        opened = [r.read(folder_of(options.folder, r), options.images) for r in used]
        for reader, batches in zip(used, opened, strict=True):
            batch = next(batches)
            if "int8" not in reader.name:
                check(batch, data)
        print("warm", file=sys.stderr, flush=True)
        for batches in opened:
            warm_up(batches, 2 * options.images // BATCH)
        shuffler = random.Random(0)
        for _ in range(options.rounds):
            turns = list(zip(used, opened, strict=True))
            shuffler.shuffle(turns)
            for reader, batches in turns:
                time.sleep(0.5)  # the threads of the reader before fill their queues
                reader.warm.append(measure(batches, options.batches, SECONDS))
        verify = verify_speed(folder_of(options.folder, used[0]), options.images, 3)
        for batches in opened:
            batches.close()
        opened.clear()
        gc.collect()  # nothing here keeps pages mapped
        print("cold", file=sys.stderr, flush=True)
        for _ in range(options.cold_rounds):
            for reader in used:
                if not reader.name.startswith("memcpy"):
                    reader.cold.append(measure_cold(options.folder, reader, options))
        checked, read = check_speed(folder_of(options.folder, used[0]), options.cold_rounds + 1)
        written, plain = write_speed(options.folder, data, 7)
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)

    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}, numpy {np.__version__}, h5py {h5py.__version__}; "
        f"{options.images} images, {options.images * ROW_BYTES / 1e9:.2f} GB per format"
    )
    print(table(used, cold=True))
    print(
        f"writing shards: {written:.2f} GB/s, plain write and fsync {plain:.2f}, "
        f"ratio {written / plain:.2f}"
    )
    print(
        f"featcache verify, from the disk: {checked:.2f} GB/s, plain reading {read:.2f}, "
        f"ratio {checked / read:.2f}"
    )
    print(
        f"--verify-rows, one pass over every row: {verify[1]:.2f} GB/s at first touch, "
        f"{verify[2]:.2f} after, {verify[0]:.2f} without; XXH3-128 {hash_speed(data):.1f}"
    )
    for reader in missing:
        print(f"not installed, left out: {reader.name} ({reader.package})")
    if options.json:
        document = {
            "warm": {r.name: r.warm for r in used},
            "cold": {r.name: r.cold for r in used},
            "write": {"featcache": written, "plain": plain},
            "verify": {"featcache": checked, "plain": read},
            "verify-rows": verify,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

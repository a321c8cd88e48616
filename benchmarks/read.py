"""Reading random batches of tokens: featcache beside plain memory, plain files and other formats.

    python benchmarks/read.py --folder /tmp/bench          # 8,192 images: 1.26 GB per format

The formats are in formats.py. All of them read in one process and one thread, into the page cache's
speed when warm; cold means that the files' pages were dropped
(`posix_fadvise(POSIX_FADV_DONTNEED)`) and the reader is a new process, whose start is not counted.

Readers that can fill an array fill one that begins at a cache line, as torch allocates them.
`numpy.empty` begins 16 bytes behind a page, where copying rows from the start of a page takes
twice as long; the line "featcache, into numpy.empty" shows it.

Rounds go around all readers in random order, and the best round of each counts: on a shared
machine, noise only slows down. The first batch of each reader is compared with the data, bit for
bit. Formats that are not installed (`pip install 'featcache[bench]'`) are named and left out.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import figures
import numpy as np
import xxhash
from formats import (
    BATCH,
    ROW_BYTES,
    Array,
    Batches,
    Reader,
    content,
    folder_of,
    make_data,
    readers,
    target,
)

from featcache import Cache
from featcache.maintenance.integrity import check_files
from featcache.storage.manifest import Manifest
from featcache.storage.shard import write_shard

PACKAGES = ("numpy", "h5py")
SECONDS = 0.1  # that a round reads at least: 200 batches at the speed of memory


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
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        for row in data[:1024]:
            xxhash.xxh3_128_digest(row.data)
        seconds.append(time.perf_counter() - start)
    return 1024 * ROW_BYTES / min(seconds) / 1e9


def table(used: list[Reader], images: int) -> dict[str, Any]:
    """Return GB/s, and the ratio of featcache to each."""
    ours = used[0]
    rows: list[dict[str, Any]] = []
    for reader in used:
        warm = max(reader.warm)
        row = {"case": reader.name, "warm": warm, "times": max(ours.warm) / warm}
        if reader.cold:
            row["cold"] = max(reader.cold)
            row["cold_times"] = max(ours.cold) / max(reader.cold)
        rows.append(row)
    columns = [
        ("case", f"reader, {images:,} images, {images * ROW_BYTES / 1e9:.2f} GB", ""),
        ("warm", "warm, GB/s", ".2f"),
        ("times", "featcache is, times as fast", ".2f"),
        ("cold", "cold, GB/s", ".2f"),
        ("cold_times", "featcache is, times as fast", ".2f"),
    ]
    return {"columns": columns, "rows": rows}


def others(pairs: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """Return what is not random reading, each beside its measure."""
    rows = [
        {"case": name, "ours": ours, "plain": plain, "ratio": ours / plain}
        for name, (ours, plain) in pairs.items()
    ]
    columns = [
        ("case", "beside", ""),
        ("ours", "featcache, GB/s", ".2f"),
        ("plain", "the other, GB/s", ".2f"),
        ("ratio", "ratio", ".2f"),
    ]
    return {"columns": columns, "rows": rows}


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

    for reader in missing:
        print(f"not installed, left out: {reader.name} ({reader.package})")
    figures.show(table(used, options.images), options.json, *PACKAGES)
    pairs = {
        "writing shards, beside plain writing; fsync included": (written, plain),
        "featcache verify from the disk, beside plain reading": (checked, read),
        "--verify-rows at first touch, beside a pass without": (verify[1], verify[0]),
        "--verify-rows after, beside a pass without": (verify[2], verify[0]),
        "--verify-rows at first touch, beside XXH3-128 in memory": (verify[1], hash_speed(data)),
    }
    figures.show(others(pairs), options.json, *PACKAGES)


if __name__ == "__main__":
    main()

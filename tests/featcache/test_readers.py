"""One cache, many readers: threads, forked and spawned processes, many shards, many rows."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from featcache import Cache
from featcache.storage.entries import FileEntry
from featcache.storage.fingerprint import Fingerprint
from featcache.storage.hdf5 import ALIGNMENT, Region
from featcache.storage.layout import Shapes, shard_name
from featcache.storage.manifest import Manifest
from featcache.storage.records import SampleRecord
from featcache.storage.shard import ShardContent, write_shard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

ROWS = 4  # per shard


def make_cache(folder: Path, *, num_shards: int, rows: int, shapes: Shapes) -> Path:
    """Write a cache of random features: float16, one view, without tables and prompts."""
    fingerprint = Fingerprint(
        backbone={"architecture": "none", "weights": "none"},
        preprocessing={},
        views=("original",),
        dtype="float16",
    )
    (folder / "shards").mkdir(parents=True)
    generator = np.random.default_rng(0)
    files = {}
    for shard in range(num_shards):
        tokens = generator.normal(size=(rows, 1, shapes.num_tokens, shapes.token_dim))
        pooled = generator.normal(size=(rows, 1, shapes.pooled_dim))
        name = shard_name(shard)
        write_shard(
            folder / name,
            ShardContent(
                records=[
                    SampleRecord(sample_id=f"{shard}-{n}", path=f"{shard}-{n}.png", status="ok")
                    for n in range(rows)
                ],
                tokens=tokens.astype(np.float16),
                pooled=pooled.astype(np.float32),
            ),
            index=shard,
            fingerprint=fingerprint.digest,
        )
        files[name] = FileEntry(bytes=(folder / name).stat().st_size, xxh3_128="0" * 32, rows=rows)
    Manifest(
        dataset={"name": "random"},
        fingerprint=fingerprint,
        shapes=shapes,
        shard_size=rows,
        backbone={},
        provenance={},
    ).with_files(files).write(folder)
    return folder


SMALL = Shapes(num_tokens=3, token_dim=5, pooled_dim=4, context_length=2, text_dim=2)
LARGE = Shapes(num_tokens=64, token_dim=128, pooled_dim=4, context_length=2, text_dim=2)


@pytest.fixture(scope="module")
def random_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 shards of 4 rows, whose tokens are large enough to be mapped."""
    folder = tmp_path_factory.mktemp("random") / "cache"
    return make_cache(folder, num_shards=40, rows=ROWS, shapes=LARGE)


@pytest.fixture(scope="module")
def batches() -> list[NDArray[np.int64]]:
    """Random batches of rows, in shards that nobody has touched yet."""
    generator = np.random.default_rng(1)
    return [generator.integers(0, 40 * ROWS, 16) for _ in range(60)]


@pytest.fixture(scope="module")
def oracle(random_cache: Path, batches: list[NDArray[np.int64]]) -> list[NDArray[np.float16]]:
    """The same batches, read by h5py in one process."""
    parts = []
    for number in range(40):
        with h5py.File(random_cache / shard_name(number)) as file:
            parts.append(file["tokens"][:, 0])
    tokens = np.concatenate(parts)
    return [tokens[rows] for rows in batches]


def require_equal(found: Iterator[Any], oracle: list[NDArray[np.float16]]) -> None:
    results = list(found)
    assert len(results) == len(oracle)
    for one, other in zip(results, oracle, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("verify_rows", [False, True])
def test_threads(
    random_cache: Path,
    batches: list[NDArray[np.int64]],
    oracle: list[NDArray[np.float16]],
    verify_rows: bool,
) -> None:
    cache = Cache.open(random_cache, verify_rows=verify_rows)
    with ThreadPoolExecutor(8) as pool:
        require_equal(pool.map(cache.tokens, batches), oracle)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes(
    random_cache: Path,
    batches: list[NDArray[np.int64]],
    oracle: list[NDArray[np.float16]],
    method: str,
) -> None:
    cache = Cache.open(random_cache)
    cache.tokens([0, 17])  # two shards are mapped before the others start
    with multiprocessing.get_context(method).Pool(2) as pool:
        require_equal(pool.imap(cache.tokens, batches, 5), oracle)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_while_threads_open_shards(random_cache: Path) -> None:
    """A child inherits no lock taken, and reads right, whatever the parent's threads were doing."""
    expected = Cache.open(random_cache).tokens(np.arange(40 * ROWS))
    stop = threading.Event()
    caches = [Cache.open(random_cache)]

    def keep_opening() -> None:
        while not stop.is_set():
            caches[0] = Cache.open(random_cache)
            caches[0].tokens(np.arange(40 * ROWS))

    threads = [threading.Thread(target=keep_opening) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            cache = caches[0]
            child = os.fork()
            if child == 0:  # no test machinery in here: it would run twice
                same = np.array_equal(cache.tokens(np.arange(40 * ROWS)), expected)
                os._exit(0 if same else 1)
            assert wait(child) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def wait(child: int, seconds: float = 20) -> int:
    """Wait for a process; one that hangs is ended and reported as -9."""
    timer = threading.Timer(seconds, os.kill, (child, 9))
    timer.start()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    return os.waitstatus_to_exitcode(status)


def run(code: str, *arguments: object) -> Any:
    """Run code in an interpreter of its own; returns the JSON value that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_more_shards_than_file_descriptors(tmp_path: Path) -> None:
    make_cache(tmp_path / "cache", num_shards=320, rows=1, shapes=SMALL)
    code = """
import json, os, resource, sys
import numpy as np
from featcache import Cache
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
cache = Cache.open(sys.argv[1])
cache.tokens([0])
before = len(os.listdir("/proc/self/fd"))
tokens = cache.tokens(np.arange(320)[::-1])
pooled = cache.pooled(np.arange(320))
descriptors = len(os.listdir("/proc/self/fd")) - before
print(json.dumps([len(cache._features.shards), descriptors, len(tokens)]))
"""
    assert run(code, tmp_path / "cache") == [320, 0, 320]


def test_mappings_go_with_the_cache(random_cache: Path) -> None:
    def mapped() -> int:
        with open("/proc/self/maps") as maps:  # noqa: PTH123
            return sum(str(random_cache) in line for line in maps)

    before = mapped()
    cache = Cache.open(random_cache)
    cache.tokens(np.arange(40 * ROWS))
    space = cache._features.spaces["tokens"]
    assert mapped() == before + 40
    row = space.array[space.starts[3]]
    del cache, space
    assert mapped() == before + 40  # who still looks at a row keeps what it lies in
    assert np.isfinite(row).all()
    del row
    assert mapped() == before


MEMORY = """
import json, sys
import numpy as np
from featcache import Cache

def private():  # KiB that belong to this process; pages of mapped files are the kernel's
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["RssAnon"].split()[0])

warm = Cache.open(sys.argv[2])
warm.tokens([0])
before = private()
cache = Cache.open(sys.argv[1])
generator = np.random.default_rng(0)
out = np.empty((64, cache.shapes.num_tokens, cache.shapes.token_dim), np.float16)
highest = 0
for _ in range(int(sys.argv[3])):
    cache.tokens(generator.integers(0, len(cache), 64), out=out)
    highest = max(highest, private())
print(json.dumps([len(cache), len(cache._features.shards), highest - before]))
"""


def stretch(folder: Path, rows: int) -> None:
    """Let every shard of a cache have ``rows`` rows, all in a hole of the file at its end.

    The data sets' addresses and shapes are in the file's metadata, so a shard is written anew,
    with its arrays reserved but not filled.
    """
    manifest = Manifest.read(folder)
    shapes, files = manifest.shapes, {}
    tails = {
        "tokens": ("f2", (1, shapes.num_tokens, shapes.token_dim)),
        "pooled": ("f4", (1, shapes.pooled_dim)),
        "digests": ("u1", (16,)),
        "sample_id": ("S8", ()),
    }
    for name in manifest.shards():
        aligned = {"alignment_threshold": ALIGNMENT, "alignment_interval": ALIGNMENT}
        with h5py.File(folder / name, "a", libver=("v110", "v110"), **aligned) as file:
            for key, (dtype, tail) in tails.items():
                del file[key]
                plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                plan.set_layout(h5py.h5d.CONTIGUOUS)
                plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
                plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
                space = h5py.h5s.create_simple((rows, *tail))
                kind = h5py.h5t.py_create(np.dtype(dtype))
                h5py.h5d.create(file.id, key.encode(), kind, space, plan)
        size = (folder / name).stat().st_size
        files[name] = FileEntry(bytes=size, xxh3_128="0" * 32, rows=rows)
    manifest.with_files(files).write(folder)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """A million rows of 100 x 768 float16, 153.6 GB, in sparse files: what reading them takes."""
    shapes = Shapes(num_tokens=100, token_dim=768, pooled_dim=4, context_length=2, text_dim=2)
    small = make_cache(tmp_path / "small", num_shards=1, rows=1, shapes=shapes)
    large = make_cache(tmp_path / "large", num_shards=10, rows=1, shapes=shapes)
    stretch(large, 100_000)
    assert sum(p.stat().st_size for p in (large / "shards").iterdir()) > 153e9
    rows, shards, kibibytes = run(MEMORY, large, small, 8)
    assert (rows, shards) == (1_000_000, 10)
    assert kibibytes < 24 * 1024  # the batch itself is 9.6 MiB


def test_a_region_maps_alone(random_cache: Path) -> None:
    """`Region.map`, which the checks use, and the cache's own mapping see the same bytes."""
    cache = Cache.open(random_cache)
    cache.tokens([0])
    cache.pooled([0])
    for name in ("tokens", "pooled"):
        region, space = cache._features.shard(0).regions[name], cache._features.spaces[name]
        assert isinstance(region, Region)
        first = int(space.starts[0])
        mapped = space.array[first : first + ROWS]
        alone = region.map(random_cache / shard_name(0))
        np.testing.assert_array_equal(alone.reshape(mapped.shape), mapped)

"""Files from strangers: each is refused with CacheFormatError before its data is touched."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from featcache import Cache
from featcache.errors import CacheFormatError
from featcache.storage.fingerprint import digest
from featcache.storage.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from featcache.storage.shard import ShardIndex

PACKAGES = Path(__file__).parents[2]
VICTIM = "tokens"  # the data set that most hostile files replace; shards and prompts have it


def replace(file: h5py.File, name: str = VICTIM, **changes: Any) -> None:
    """Put a data set in place of another, with other creation settings or another type."""
    data = file[name][()]
    del file[name]
    if "dtype" in changes and "data" not in changes:
        data = np.zeros(data.shape, changes["dtype"])
    file.create_dataset(name, **({"data": data} | changes))


def soft_link(file: h5py.File, folder: Path) -> None:
    file.move(VICTIM, "pooled2")
    file[VICTIM] = h5py.SoftLink("/pooled2")


def soft_link_alone(file: h5py.File, folder: Path) -> None:
    del file[VICTIM]
    file[VICTIM] = h5py.SoftLink("/pooled")


def external_link(file: h5py.File, folder: Path) -> None:
    with h5py.File(folder / "elsewhere.h5", "w") as other:
        file.copy(VICTIM, other)
    del file[VICTIM]
    file[VICTIM] = h5py.ExternalLink(str(folder / "elsewhere.h5"), VICTIM)


def external_storage(file: h5py.File, folder: Path) -> None:
    data = file[VICTIM][()]
    (folder / "secret").write_bytes(data.tobytes())
    del file[VICTIM]
    external = [(str(folder / "secret"), 0, data.nbytes)]
    file.create_dataset(VICTIM, data.shape, data.dtype, external=external)


def virtual(file: h5py.File, folder: Path) -> None:
    data = file[VICTIM]
    layout = h5py.VirtualLayout(data.shape, data.dtype)
    layout[...] = h5py.VirtualSource(str(folder / "elsewhere.h5"), VICTIM, data.shape)
    del file[VICTIM]
    file.create_virtual_dataset(VICTIM, layout)


def unknown_filter(file: h5py.File, folder: Path) -> None:
    shape = file[VICTIM].shape
    del file[VICTIM]
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(shape)
    plan.set_filter(40_000, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, VICTIM.encode(), h5py.h5t.IEEE_F16LE, space, plan)


def compact(file: h5py.File, folder: Path) -> None:
    shape = file[VICTIM].shape
    del file[VICTIM]
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, VICTIM.encode(), h5py.h5t.IEEE_F16LE, space, plan)


def huge_shape(file: h5py.File, folder: Path) -> None:
    """A petabyte that is declared and never written."""
    tail = file[VICTIM].shape[1:]
    dtype = file[VICTIM].dtype
    del file[VICTIM]
    file.create_dataset(VICTIM, (10**13, *tail), dtype)


def group(file: h5py.File, folder: Path) -> None:
    del file[VICTIM]
    file.create_group(VICTIM)


def cyclic_group(file: h5py.File, folder: Path) -> None:
    del file[VICTIM]
    file[VICTIM] = file["/"]


def named_type(file: h5py.File, folder: Path) -> None:
    del file[VICTIM]
    file[VICTIM] = np.dtype("float16")


def committed_type(file: h5py.File, folder: Path) -> None:
    """A data set whose type is stored elsewhere in the file."""
    shape, dtype = file[VICTIM].shape, file[VICTIM].dtype
    del file[VICTIM]
    kind = h5py.h5t.py_create(dtype).copy()
    kind.commit(file.id, b"kind")
    h5py.h5d.create(file.id, VICTIM.encode(), kind, h5py.h5s.create_simple(shape))
    file[VICTIM][...] = 0
    del file["kind"]  # the name goes, the type stays


def alias(file: h5py.File, folder: Path) -> None:
    """Two names of one data set."""
    del file[VICTIM]
    file[VICTIM] = file["pooled"]


def extra_member(file: h5py.File, folder: Path) -> None:
    file["extra"] = 1


def missing_member(file: h5py.File, folder: Path) -> None:
    del file[VICTIM]


def other_name(file: h5py.File, folder: Path) -> None:
    file.move(VICTIM, "../tokens")


def fewer_rows(file: h5py.File, folder: Path) -> None:
    replace(file, data=file[VICTIM][:-1])


def other_shape(file: h5py.File, folder: Path) -> None:
    data = file[VICTIM][()]
    replace(file, data=data.reshape(len(data), -1))


def scalar(file: h5py.File, folder: Path) -> None:
    replace(file, data=np.float16(1))


def no_shape(file: h5py.File, folder: Path) -> None:
    replace(file, data=h5py.Empty("f2"))


def retyped(dtype: Any) -> Callable[[h5py.File, Path], None]:
    def change(file: h5py.File, folder: Path) -> None:
        shape = file[VICTIM].shape
        del file[VICTIM]
        file.create_dataset(VICTIM, shape, dtype)

    return change


def settings(**changes: Any) -> Callable[[h5py.File, Path], None]:
    return lambda file, folder: replace(file, **changes)


def attribute(name: int, value: Any) -> Callable[[h5py.File, Path], None]:
    """Change the first (a number or a digest) of a file's attributes."""

    def change(file: h5py.File, folder: Path) -> None:
        key = sorted(file.attrs)[name]
        del file.attrs[key]
        if value is not None:
            file.attrs.create(key, value)

    return change


def committed_attribute(file: h5py.File, folder: Path) -> None:
    key = sorted(file.attrs)[0]
    del file.attrs[key]
    file["kind"] = np.dtype("S32")
    kind = h5py.h5t.open(file.id, b"kind")
    h5py.h5a.create(file.id, key.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR))
    del file["kind"]


HOSTILE: dict[str, Callable[[h5py.File, Path], None]] = {
    "soft link": soft_link,
    "soft link to another member": soft_link_alone,
    "external link": external_link,
    "external storage": external_storage,
    "virtual": virtual,
    "chunked": settings(chunks=True),
    "gzip": settings(chunks=True, compression="gzip"),
    "shuffle": settings(chunks=True, shuffle=True),
    "checksum filter": settings(chunks=True, fletcher32=True),
    "resizable": settings(maxshape=(None, *[None] * 2)),
    "unknown filter": unknown_filter,
    "compact": compact,
    "huge shape": huge_shape,
    "group": group,
    "cyclic group": cyclic_group,
    "named type": named_type,
    "committed type": committed_type,
    "alias": alias,
    "extra member": extra_member,
    "missing member": missing_member,
    "other name": other_name,
    "fewer rows": fewer_rows,
    "other shape": other_shape,
    "scalar": scalar,
    "no shape": no_shape,
    "float64": retyped("f8"),
    "big endian": retyped(">f4"),
    "integers": retyped("i2"),
    "booleans": retyped("?"),
    "compound": retyped([("a", "f2"), ("b", "f2")]),
    "array type": retyped(np.dtype(("f2", (3,)))),
    "variable-length strings": retyped(h5py.string_dtype()),
    "variable-length arrays": retyped(h5py.vlen_dtype(np.float16)),
    "references": retyped(h5py.ref_dtype),
    "enumeration": retyped(h5py.enum_dtype({"a": 1}, "i2")),
    "opaque": retyped("V2"),
    "no attribute": attribute(0, None),
    "attribute of a megabyte": attribute(0, np.bytes_(b"x" * 60_000)),
    "attribute with many values": attribute(0, np.zeros(1000, np.int64)),
    "attribute of variable length": attribute(0, "text"),
    "floating attribute": attribute(0, 1.0),
    "attribute without value": attribute(0, h5py.Empty("S32")),
    "attribute of a committed type": committed_attribute,
    "attribute that is no text": attribute(-1, np.bytes_(b"\xff\x00\x80")),
}


def spoil(path: Path, name: str, folder: Path) -> None:
    """Rewrite an HDF5 file with one hostile trait."""
    with h5py.File(path, "r+") as file:
        if name == "resizable":
            shape = file[VICTIM].shape
            replace(file, maxshape=(None,) * len(shape), chunks=shape)
        else:
            HOSTILE[name](file, folder)


def shard_check(cache: Path) -> Callable[[Path], ShardIndex]:
    """Return the function that checks a shard of this cache."""
    from featcache.storage.shard import open_shard

    manifest = Manifest.read(cache)
    return lambda path: open_shard(
        path,
        shapes=manifest.shapes,
        num_views=len(manifest.fingerprint.views),
        dtype=manifest.fingerprint.dtype,
    )


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["shards/00000.h5", "prompts.h5"])
def test_hostile_files(cache_copy: Path, tmp_path: Path, kind: str, name: str) -> None:
    spoil(cache_copy / kind, name, tmp_path)
    cache = Cache.open(cache_copy)
    tracemalloc.start()
    try:
        with pytest.raises(CacheFormatError, match=re.escape(Path(kind).name)):
            _ = cache.prompt("beauty.") if kind == "prompts.h5" else cache.tokens([0])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


OPEN_ALL = """
import json, resource, sys
from pathlib import Path
from featcache.errors import CacheFormatError
from featcache.storage.manifest import Manifest
from featcache.storage.shard import open_shard

manifest = Manifest.read(Path(sys.argv[1]))
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
outcomes = {}
for path in sorted(Path(sys.argv[2]).glob("*.h5")):
    try:
        open_shard(path, shapes=manifest.shapes, num_views=2, dtype="float16")
        outcomes[path.stem] = "opened"
    except CacheFormatError as error:
        outcomes[path.stem] = "refused"
print(json.dumps(outcomes))
"""


def test_hostile_shards_in_64_mib(small_cache: Path, tmp_path: Path) -> None:
    """All of them, where an allocation of what they declare would fail."""
    (tmp_path / "files").mkdir()
    for name in HOSTILE:
        path = tmp_path / "files" / f"{name}.h5"
        shutil.copy(small_cache / "shards/00000.h5", path)
        spoil(path, name, tmp_path)
    shutil.copy(small_cache / "shards/00000.h5", tmp_path / "files/honest.h5")
    done = subprocess.run(
        [sys.executable, "-c", OPEN_ALL, small_cache, tmp_path / "files"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    expected = dict.fromkeys(HOSTILE, "refused") | {"honest": "opened"}
    assert json.loads(done.stdout) == expected


def old_style(source: Path, target: Path) -> dict[str, int]:
    """Write a shard as old HDF5 versions do, without checksums of metadata; returns addresses."""
    with h5py.File(source) as one, h5py.File(target, "w", libver="earliest") as two:
        for name in one:
            two.create_dataset(name, data=one[name][()])
        for name, value in one.attrs.items():
            two.attrs[name] = value
    with h5py.File(target) as file:
        return {name: file[name].id.get_offset() for name in file}


def patch(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1, content.count(old)
    path.write_bytes(content.replace(old, new))


def word(number: int) -> bytes:
    return number.to_bytes(8, "little")


def test_patched_metadata(cache_copy: Path, tmp_path: Path) -> None:
    check = shard_check(cache_copy)
    source, target = cache_copy / "shards/00000.h5", tmp_path / "patched.h5"
    addresses = old_style(source, target)
    honest = check(target)
    assert {name: region.offset for name, region in honest.regions.items()} == addresses

    size = target.stat().st_size
    for address in (addresses["pooled"], addresses["pooled"] - 8, size, size - 8, 1 << 60, 0):
        old_style(source, target)
        patch(target, word(addresses["tokens"]), word(address))
        with pytest.raises(CacheFormatError, match=r"patched.h5"):
            check(target)

    # Rows whose product with 2 x 4 x 6 x 2 bytes is 2**64 times something: no bytes at all, to
    # who multiplies in 64 bits.
    old_style(source, target)
    rows = honest.num_rows
    content = target.read_bytes()
    dims = word(rows) + word(2) + word(4) + word(6)
    assert dims in content
    target.write_bytes(content.replace(dims, word(1 << 60) + word(2) + word(4) + word(6)))
    with pytest.raises(CacheFormatError, match=r"patched.h5"):
        check(target)


def test_user_block(cache_copy: Path, tmp_path: Path) -> None:
    with (
        h5py.File(cache_copy / "shards/00000.h5") as one,
        h5py.File(tmp_path / "block.h5", "w", userblock_size=4096) as two,
    ):
        for name in one:
            two.create_dataset(name, data=one[name][()])
        for name, value in one.attrs.items():
            two.attrs[name] = value
    with pytest.raises(CacheFormatError, match="user block"):
        shard_check(cache_copy)(tmp_path / "block.h5")


def no_file(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize("name", ["shards/00000.h5", "prompts.h5", "samples.parquet"])
@pytest.mark.parametrize(
    "change",
    [
        no_file,
        a_folder,
        a_pipe,
        a_loop,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("not what it should be"),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    ],
    ids=["none", "folder", "pipe", "loop", "empty", "text", "shorter by a byte", "half"],
)
def test_things_that_are_no_such_file(
    cache_copy: Path, name: str, change: Callable[[Path], None]
) -> None:
    change(cache_copy / name)
    cache = Cache.open(cache_copy)
    with pytest.raises(CacheFormatError, match=re.escape(Path(name).name)):
        cache.tokens([0]), cache.prompt("beauty."), cache.samples


@pytest.mark.parametrize(
    "texts", ["[", "{}", "3", "[1, 2]", '["a", null]', '["beauty.", "beauty."]', "\xff", "[" * 9999]
)
def test_hostile_lists_of_prompts(cache_copy: Path, texts: str) -> None:
    content = np.frombuffer(texts.encode("latin-1"), np.uint8)
    with h5py.File(cache_copy / "prompts.h5", "r+") as file:
        del file["prompts"]
        file.create_dataset("prompts", data=content)
        file.attrs["prompts_digest"] = np.bytes_(
            xxhash.xxh3_128_hexdigest(content.tobytes()).encode()
        )
    with pytest.raises(CacheFormatError, match=r"prompts.h5"):
        Cache.open(cache_copy).prompt("beauty.")


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change cache.json as somebody does who knows how its digest is made."""
    value = json.loads((folder / "cache.json").read_text())
    del value["digest"]
    change(value)
    if isinstance(value.get("fingerprint"), dict):
        value["fingerprint_digest"] = digest(value["fingerprint"])
    value["digest"] = digest(value)
    (folder / "cache.json").write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def put(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


def rename_file(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["files"][new] = document["files"].pop(old)
        document["files"] = dict(sorted(document["files"].items()))

    return change


SHARD = ("files", "shards/00000.h5")
NESTED: list[Any] = []
for _ in range(400):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "change",
    [
        rename_file("shards/00000.h5", "/etc/passwd"),
        rename_file("shards/00000.h5", "../other/00000.h5"),
        rename_file("shards/00000.h5", "shards/../../x.h5"),
        rename_file("shards/00000.h5", "shards/0.h5"),
        rename_file("samples.parquet", "/tmp/samples.parquet"),
        rename_file("samples.parquet", "notes.txt"),
        put("files", value=[]),
        put("files", value={"shards/00000.h5": 3}),
        put(*SHARD, "rows", value="3"),
        put(*SHARD, "rows", value=-3),
        put(*SHARD, "rows", value=3.0),
        put(*SHARD, "rows", value=True),
        put(*SHARD, "rows", value=10**30),
        put(*SHARD, "bytes", value=-1),
        put(*SHARD, "bytes", value="1"),
        put(*SHARD, "xxh3_128", value="zz"),
        put(*SHARD, "xxh3_128", value=5),
        put(*SHARD, "more", value=5),
        put("files", "samples.parquet", "rows", value=5),
        put("shapes", "num_tokens", value=0),
        put("shapes", "num_tokens", value=-4),
        put("shapes", "num_tokens", value="4"),
        put("shapes", "num_tokens", value=4.5),
        put("shapes", "num_tokens", value=10**40),
        put("shapes", "more", value=1),
        put("shapes", value=None),
        put("shard_size", value=0),
        put("shard_size", value="many"),
        put("complete", value="yes"),
        put("complete", value=1),
        put("dataset", value={}),
        put("dataset", value={"name": 3}),
        put("dataset", value="coco"),
        put("backbone", value=[]),
        put("provenance", value=3),
        put("fingerprint", "views", value="original"),
        put("fingerprint", "views", value=[]),
        put("fingerprint", "views", value=["original", "original"]),
        put("fingerprint", "views", value=[1, 2]),
        put("fingerprint", "dtype", value="object"),
        put("fingerprint", "dtype", value=16),
        put("fingerprint", "backbone", value=[]),
        put("fingerprint", "preprocessing", value=None),
        put("fingerprint", "schema_version", value=2),
        put("fingerprint", value={}),
        put("schema_version", value=1),
        put("schema_version", value=3),
        put("schema_version", value=True),
        put("identity", value="x"),
        put("name", value=""),
        put("schema_version", value="1"),
        put("format", value="zarr"),
        put("part", value={"index": 0, "count": -1, "images": 1}),
        put("part", value=[1, 2]),
        put("more", value=1),
        put("dataset", value=NESTED),
    ],
)
def test_hostile_manifests(cache_copy: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    change_manifest(cache_copy, change)
    with pytest.raises(CacheFormatError, match=r"cache.json"):
        Cache.open(cache_copy)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b'{"a":' * 20_000, b'{"schema_version": 1e999}'],
)
def test_manifests_that_are_no_such_document(cache_copy: Path, content: bytes) -> None:
    (cache_copy / "cache.json").write_bytes(content)
    with pytest.raises(CacheFormatError, match=r"cache.json"):
        Cache.open(cache_copy)


def test_a_manifest_of_gigabytes_is_not_read(cache_copy: Path) -> None:
    os.truncate(cache_copy / "cache.json", 1 << 36)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    tracemalloc.start()
    try:
        with pytest.raises(CacheFormatError, match=r"cache.json"):
            Cache.open(cache_copy)
        assert tracemalloc.get_traced_memory()[1] < 1 << 30
    finally:
        tracemalloc.stop()
    assert resource.getrlimit(resource.RLIMIT_AS) == limit


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "../x.png", "a/../../x.png", "..", "", ".", "C:x.png", "C:/x.png",
        "\\\\host\\x", "\\x.png", "a\\..\\..\\x", "a\0b.png",
    ],
)  # fmt: skip
def test_paths_in_tables_are_relative(cache_copy: Path, path: str) -> None:
    table = pq.read_table(cache_copy / "samples.parquet")
    paths = table["path"].to_pylist()
    paths[0] = path
    column = table.column_names.index("path")
    table = table.set_column(column, table.schema.field(column), pa.array(paths, pa.string()))
    pq.write_table(table, cache_copy / "samples.parquet")
    with pytest.raises(CacheFormatError, match=r"samples.parquet"):
        _ = Cache.open(cache_copy).samples
    from featcache.storage.tables import SAMPLES_SCHEMA, read_table

    with pytest.raises(CacheFormatError, match="relative path"):
        read_table(cache_copy / "samples.parquet", SAMPLES_SCHEMA)


def test_paths_that_only_look_odd(cache_copy: Path) -> None:
    from featcache.storage.tables import SAMPLES_SCHEMA, read_table

    table = pq.read_table(cache_copy / "samples.parquet")
    odd = [
        "...", "a..b/c.png", "..a/b", "a/..b", ".hidden/x.png", "ü/日本.png", "a b.png", "a/./b",
        "ab:c.png", "~/x.png",
    ]  # fmt: skip
    column = table.column_names.index("path")
    table = table.set_column(column, table.schema.field(column), pa.array(odd, pa.string()))
    pq.write_table(table, cache_copy / "samples.parquet")
    assert read_table(cache_copy / "samples.parquet", SAMPLES_SCHEMA)["path"].to_pylist() == odd


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"x"] * 10, pa.binary()),
        pa.array([1] * 10),
        pa.array(["x"] * 10).dictionary_encode(),
        pa.array([["x"]] * 10),
    ],
)
def test_tables_of_other_types(cache_copy: Path, column: pa.Array[Any]) -> None:
    from featcache.storage.tables import SAMPLES_SCHEMA, read_table

    table = pq.read_table(cache_copy / "samples.parquet")
    pq.write_table(table.set_column(0, "sample_id", column), cache_copy / "samples.parquet")
    with pytest.raises(CacheFormatError, match="columns are"):
        read_table(cache_copy / "samples.parquet", SAMPLES_SCHEMA)


UNSAFE = re.compile(
    r"\b(pickle|shelve|dill|joblib|marshal)\.(loads?|open|Unpickler)\b"
    r"|allow_pickle\s*=\s*True|weights_only\s*=\s*False"
)


@pytest.mark.parametrize("package", ["featcache", "adapter", "cli"])
def test_nothing_is_unpickled(package: str) -> None:
    sources = sorted((PACKAGES / package).rglob("*.py"))
    assert sources
    for path in sources:
        text = path.read_text()
        assert not UNSAFE.search(text), path
        for call in re.finditer(r"\b(torch|np|numpy)\.load\(", text):
            arguments = text[call.end() : text.index(")", call.end())]
            needed = "weights_only=True" if call[1] == "torch" else "allow_pickle=False"
            assert needed in arguments, f"{path}: {call[0]}{arguments})"

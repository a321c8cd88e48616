"""Export: the features of a cache in other formats, for people who leave.

    export_safetensors("cache/ava", "out")     one .safetensors per shard, tables beside them
    export_webdataset("cache/ava", "out")      one .tar per shard, one sample per image

Both write shard by shard, never a cache at once, and ``export.json`` last: without it an export
is not complete.
"""

from __future__ import annotations

import io
import json
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featcache.errors import CacheFormatError, FeatcacheError
from featcache.extraction.checks import require_free
from featcache.reading.cache import Cache
from featcache.storage.durable import committed, make_folders, write_bytes, write_json
from featcache.storage.layout import LABELS, SAMPLES
from featcache.storage.quantize import dequantize
from featcache.storage.shard import FEATURES, mismatches, open_shard_of
from featcache.storage.tables import SAMPLES_SCHEMA, ok_samples, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from featcache.storage.shard import ShardIndex

EXPORT = "export.json"


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """How an export ended."""

    out: str
    format: str
    images: int
    files: int
    bytes: int


def export_safetensors(
    cache: str | Path, out: str | Path, *, on_progress: Callable[[int, int], None] | None = None
) -> ExportSummary:
    """Write ``00000.safetensors`` ..., ``prompts.safetensors``, the tables and ``export.json``.

    A shard's file has ``tokens`` [N, V, P, C], ``pooled`` [N, V, E] and, with int8 tokens,
    ``scales`` [N, V, P] (a token is its integers times its scale). ``samples.parquet`` says in
    which file (``shard``) and ``row`` an image is. ``prompts.safetensors`` has ``tokens``
    [n, T, D] and ``pooled`` [n, E], in the order of ``prompts`` in ``export.json``.

    Args:
        cache: A finished cache.
        out: A new or empty folder.
        on_progress: Called with the number of shards done and in all.

    Raises:
        FeatcacheError: ``out`` is not empty.
        DiskSpaceError: It does not fit on the disk.
        CacheFormatError: A row is damaged.
    """
    from safetensors.numpy import save

    opened, out = Cache.open(cache), _new_folder(out)
    require_free(out, sum(entry.bytes for entry in opened.manifest.files.values()), "")
    live = ok_samples(opened.samples)
    for number, shard in _shards(opened, on_progress):
        rows = np.asarray(live.filter(pc.field("shard") == number)["row"], np.int64)
        names = [name for name in FEATURES if name in shard.regions]
        arrays = {name: shard.map(name)[rows] for name in names}  # without images that are gone
        write_bytes(out / f"{number:05d}.safetensors", save(arrays))
    if opened.prompts:
        prompts = [opened.prompt(text) for text in opened.prompts]
        arrays = {
            "tokens": np.stack([prompt.tokens for prompt in prompts]),
            "pooled": np.stack([prompt.pooled for prompt in prompts]),
        }
        write_bytes(out / "prompts.safetensors", save(arrays))
    write_table(out / SAMPLES, _exported_rows(opened.samples))
    write_table(out / LABELS, opened.labels)
    return _finish(opened, out, "safetensors")


def export_webdataset(
    cache: str | Path, out: str | Path, *, on_progress: Callable[[int, int], None] | None = None
) -> ExportSummary:
    """Write ``00000.tar`` ... in WebDataset's layout, ``prompts.tar`` and ``export.json``.

    An image is ``KEY.tokens.npy`` [V, P, C], float16 where they are stored as int8,
    ``KEY.pooled.npy`` float32 [V, E], and ``KEY.json`` with its row of samples.parquet and its
    ``labels``; KEY is the row in the cache in nine digits. A prompt is ``KEY.tokens.npy`` [T, D],
    ``KEY.pooled.npy`` [E] and ``KEY.txt``.

    Arguments and errors are those of `export_safetensors`.
    """
    opened, out = Cache.open(cache), _new_folder(out)
    wider = 2 if opened.fingerprint.dtype == "int8" else 1
    require_free(out, wider * sum(entry.bytes for entry in opened.manifest.files.values()), "")
    samples = opened.samples.filter(pc.field("status") == "ok")
    row = 0
    for number, shard in _shards(opened, on_progress):
        described = samples.filter(pc.field("shard") == number).to_pylist()
        labels = _labels_of(opened, [sample["sample_id"] for sample in described])
        with _tar(out / f"{number:05d}.tar") as tar:
            for sample in described:
                local = sample["row"]
                facts = {**sample, "labels": labels.get(sample["sample_id"], [])}
                key = f"{row:09d}"
                _put(tar, f"{key}.json", json.dumps(facts, ensure_ascii=False).encode())
                _put(tar, f"{key}.pooled.npy", _npy(shard.map("pooled")[local]))
                if "tokens" in shard.regions:
                    _put(tar, f"{key}.tokens.npy", _npy(_tokens(shard, local)))
                row += 1
    if opened.prompts:
        with _tar(out / "prompts.tar") as tar:
            for n, text in enumerate(opened.prompts):
                prompt = opened.prompt(text)
                _put(tar, f"{n:09d}.pooled.npy", _npy(prompt.pooled))
                _put(tar, f"{n:09d}.tokens.npy", _npy(prompt.tokens))
                _put(tar, f"{n:09d}.txt", text.encode())
    return _finish(opened, out, "webdataset")


def _exported_rows(samples: pa.Table) -> pa.Table:
    """Number the rows of each shard anew: those of images that are gone are left out."""
    shards = ok_samples(samples)["shard"].to_numpy().astype(np.int64)
    ok = np.asarray(samples["row"].is_valid(), bool)
    rows = np.zeros(len(samples), np.int32)
    rows[ok] = np.arange(len(shards)) - np.searchsorted(shards, shards)
    at = samples.column_names.index("row")
    return samples.set_column(at, SAMPLES_SCHEMA.field("row"), pa.array(rows, mask=~ok))


def _new_folder(out: str | Path) -> Path:
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FeatcacheError(f"{out} is not an empty folder; choose another --out")
    make_folders(out)
    return out


def _shards(
    cache: Cache, on_progress: Callable[[int, int], None] | None
) -> Iterator[tuple[int, ShardIndex]]:
    """Yield each shard once its rows have been compared with their digests."""
    names = cache.manifest.shards()
    for done, name in enumerate(names, 1):
        shard = open_shard_of(cache.path, cache.manifest, name)
        if found := mismatches(shard, cache.manifest, name, names[name]):
            raise CacheFormatError(
                f"{shard.path}: {'; '.join(found)}; run `featcache repair {cache.path}`"
            )
        if rows := shard.damaged_rows():
            raise CacheFormatError(
                f"{shard.path}: damaged rows {rows}; run `featcache repair {cache.path}`"
            )
        yield shard.index, shard
        if on_progress:
            on_progress(done, len(names))


def _finish(cache: Cache, out: Path, kind: str) -> ExportSummary:
    """Say what was exported, last."""
    files = [file for file in sorted(out.iterdir()) if file.is_file()]
    facts = {
        "format": kind,
        "dataset": dict(cache.manifest.dataset),
        "fingerprint": cache.fingerprint.to_dict(),
        "fingerprint_digest": cache.fingerprint.digest,
        "shapes": cache.shapes.to_dict(),
        "views": list(cache.views),
        "images": len(cache),
        "prompts": cache.prompts,
        "files": {file.name: file.stat().st_size for file in files},
    }
    write_json(out / EXPORT, facts)
    return ExportSummary(
        out=str(out),
        format=kind,
        images=len(cache),
        files=len(files) + 1,
        bytes=sum(file.stat().st_size for file in out.iterdir()),
    )


def _labels_of(cache: Cache, sample_ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Group the labels of some images by image."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    wanted = pc.is_in(cache.labels["sample_id"], value_set=pa.array(sample_ids, pa.string()))
    for label in cache.labels.filter(wanted).to_pylist():
        grouped.setdefault(label.pop("sample_id"), []).append(label)
    return grouped


def _tokens(shard: ShardIndex, row: int) -> NDArray[Any]:
    """Return an image's tokens [V, P, C], dequantized to float16 where they are int8."""
    tokens: NDArray[Any] = shard.map("tokens")[row]
    if "scales" not in shard.regions:
        return tokens
    out = np.empty(tokens.shape, np.float16)
    dequantize(tokens, shard.map("scales")[row], out)
    return out


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()


@contextmanager
def _tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Write a tar file atomically."""
    with (
        committed(path) as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        yield tar


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file without owner or time, so that the same cache gives the same tar."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))

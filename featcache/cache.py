"""`Cache`: the reader of a finished cache.

    cache = Cache.open("cache/ava")
    tokens = cache.tokens([3, 1, 2], view="hflip")        # float16 [3, P, C]
    prompt = cache.prompt("sort images by the number of cats.")

Rows are numbered 0 ... len(cache)-1 in the order of the data set, failed images left out.

A shard is checked when it is first touched, then mapped as a whole: reading a row is one memory
copy, without the interpreter lock, out of the page cache. Nothing stays open, so hundreds of
shards cost no file descriptors, and the pages belong to the kernel, which takes them back at will.

A cache may be read from many threads, inherited by forked processes (the mappings are shared, and
nobody is forked while a shard is being opened), and pickled to others (what crosses is its path).
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featcache.durable import file_digest
from featcache.errors import CacheFormatError
from featcache.layout import LABELS, PROMPTS, SAMPLES, Shapes, shard_name
from featcache.manifest import Manifest
from featcache.mapping import map_file, will_need
from featcache.prompts import Prompt, PromptIndex, open_prompts
from featcache.quantise import dequantise
from featcache.shard import open_shard, row_digest
from featcache.tables import LABELS_SCHEMA, SAMPLES_SCHEMA, ok_samples, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from featcache.fingerprint import Fingerprint
    from featcache.shard import ShardIndex

    Arrays = dict[str, NDArray[Any]]

# One lock for every cache, held while a shard is checked and mapped, and taken around a fork: so
# a child never inherits it taken, nor an HDF5 file half-opened by a thread that it does not have.
_OPENING = Lock()
os.register_at_fork(
    before=_OPENING.acquire, after_in_parent=_OPENING.release, after_in_child=_OPENING.release
)


class Cache:
    """A finished cache, opened for reading; see the module's docstring.

    Attributes:
        path: The cache's folder.
        manifest: The content of cache.json.
    """

    def __init__(self, path: Path, manifest: Manifest, *, verify_rows: bool = False) -> None:
        """Use `Cache.open`."""
        self.path = path
        self.manifest = manifest
        self.verify_rows = verify_rows
        entries = manifest.shards()
        self._names = list(entries)
        if self._names != [shard_name(n) for n in range(len(entries))]:
            raise CacheFormatError(
                f"{path}: cache.json does not list shards 0 ... {len(entries) - 1}: "
                f"{', '.join(self._names[:8])} ...; run `featcache repair`"
            )
        counts = [entry.rows or 0 for entry in entries.values()]
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])  # [shards + 1]
        self._mapped: dict[int, Arrays] = {}
        self._fetched = np.zeros(len(self) * len(self.views), bool)  # whose pages were asked for
        self._verified = np.zeros(len(self) if verify_rows else 0, bool)

    @classmethod
    def open(cls, path: str | Path, *, verify_rows: bool = False) -> Cache:
        """Open a cache.

        Args:
            path: The cache's folder.
            verify_rows: Compare each row with its digest when it is first read.

        Raises:
            CacheNotFoundError: There is no cache, or its extraction has not finished.
            CacheFormatError: cache.json is damaged or of another version.
        """
        path = Path(path)
        manifest = Manifest.read(path)
        manifest.require_complete(path)
        return cls(path, manifest, verify_rows=verify_rows)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let another process open the cache by its path."""
        return (_reopen, (self.path.absolute(), self.verify_rows))

    def __len__(self) -> int:
        """Return the number of images with features."""
        return int(self._starts[-1])

    def __repr__(self) -> str:
        """Say what it is."""
        return f"Cache({str(self.path)!r}, {len(self)} images, views {', '.join(self.views)})"

    @property
    def fingerprint(self) -> Fingerprint:
        """What determines the features."""
        return self.manifest.fingerprint

    @property
    def shapes(self) -> Shapes:
        """Shapes of one image's and one prompt's features."""
        return self.manifest.shapes

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the stored views."""
        return self.fingerprint.views

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.manifest.dataset["name"])

    @cached_property
    def labels(self) -> pa.Table:
        """labels.parquet."""
        return self._table(LABELS, LABELS_SCHEMA)

    @cached_property
    def samples(self) -> pa.Table:
        """samples.parquet, failed images included."""
        return self._table(SAMPLES, SAMPLES_SCHEMA)

    @cached_property
    def sample_ids(self) -> pa.Array[Any]:
        """Ids of the rows, in order."""
        ids = ok_samples(self.samples)["sample_id"].combine_chunks()
        if len(ids) != len(self):
            raise CacheFormatError(
                f"{self.path / SAMPLES}: {len(ids)} images with features, the shards have "
                f"{len(self)}; run `featcache repair`"
            )
        return ids

    def _table(self, name: str, schema: pa.Schema) -> pa.Table:
        """Read a table, and make sure that it is the one that cache.json means.

        A table of another cache would read well, and its rows would belong to other images.
        """
        table = read_table(self.path / name, schema)
        entry = self.manifest.files.get(name)
        found = file_digest(self.path / name)
        if entry is None or found != entry.xxh3_128:
            raise CacheFormatError(
                f"{self.path / name}: its digest is {found}, cache.json says "
                f"{entry.xxh3_128 if entry else 'nothing'}; run `featcache verify`, or open the "
                "cache again if it was changed just now"
            )
        return table

    @cached_property
    def _prompts(self) -> PromptIndex:
        path = self.path / PROMPTS
        if PROMPTS in self.manifest.files and not path.exists():
            raise CacheFormatError(f"{path}: missing; `featcache repair` makes it again")
        return open_prompts(self.path, shapes=self.shapes, fingerprint=self.fingerprint)

    @property
    def prompts(self) -> list[str]:
        """The prompts that have tokens, sorted."""
        return list(self._prompts.rows)

    def prompt(self, text: str) -> Prompt:
        """Return a prompt's tokens float32 [T, D] and pooled embedding float32 [E].

        Raises:
            PromptNotFoundError: The cache does not hold it; the message says how to add it.
        """
        return self._prompts.read(text)

    def rows(
        self, sample_ids: Sequence[str] | pa.Array[Any] | pa.ChunkedArray[Any]
    ) -> NDArray[np.int64]:
        """Return the rows of samples [n]; -1 where a sample has no features."""
        wanted = (
            sample_ids
            if isinstance(sample_ids, (pa.Array, pa.ChunkedArray))
            else pa.array(sample_ids, pa.string())
        )
        found: Any = pc.index_in(wanted, value_set=self.sample_ids)
        rows: NDArray[np.int64] = pc.fill_null(found, -1).to_numpy().astype(np.int64)
        return rows

    def tokens(
        self,
        rows: ArrayLike,
        view: str | int | NDArray[np.integer[Any]] = "original",
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Gather patch tokens.

        Args:
            rows: Integers [n], in any order, repeats allowed.
            view: A view's name or index, or one index per row.
            out: Array [n, P, C] to fill, e.g. pinned memory; made where it is not given.

        Returns:
            Tokens [n, P, C] in the stored dtype; float16 where they are stored as int8.

        Raises:
            IndexError: A row or a view is not in the cache.
            CacheFormatError: A shard is missing, damaged or not of this cache.
        """
        places = self._places(rows, view, fetch=True)
        stored = self.fingerprint.dtype
        dtype = np.dtype("float16" if stored == "int8" else stored)
        shape = (len(places), self.shapes.num_tokens, self.shapes.token_dim)
        if out is None:
            out = np.empty(shape, dtype)
        elif out.shape != shape or out.dtype != dtype:
            raise ValueError(
                f"out is {out.dtype} {list(out.shape)}, expected {dtype} {list(shape)}"
            )
        if stored == "int8":
            for number, (arrays, place) in enumerate(places):
                dequantise(arrays["tokens"][place], arrays["scales"][place], out[number])
        elif places:
            np.concatenate([arrays["tokens"][at : at + 1] for arrays, at in places], out=out)
        return out

    def pooled(
        self, rows: ArrayLike, view: str | int | NDArray[np.integer[Any]] = "original"
    ) -> NDArray[np.float32]:
        """Gather pooled embeddings, float32 [n, E]; arguments and errors as in `tokens`."""
        places = self._places(rows, view)
        out = np.empty((len(places), self.shapes.pooled_dim), np.float32)
        if places:
            np.concatenate([arrays["pooled"][at : at + 1] for arrays, at in places], out=out)
        return out

    def _places(
        self, rows: ArrayLike, view: str | int | NDArray[np.integer[Any]], *, fetch: bool = False
    ) -> list[tuple[Arrays, int]]:
        """Return for each row its shard's arrays and its place on their first axis.

        With ``fetch``, the kernel is asked for the tokens that are read for the first time, all
        of them at once; from a cold disk that is several times as fast as one page fault after
        the other. Later they are in memory as a rule, and asking would only cost time.
        """
        rows, views = self._resolve(rows, view)
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        places = (rows - self._starts[shards]) * len(self.views) + views
        found = [
            (self._shard(n), at) for n, at in zip(shards.tolist(), places.tolist(), strict=True)
        ]
        if fetch:
            numbers = rows * len(self.views) + views
            for position in np.flatnonzero(~self._fetched[numbers]).tolist():
                arrays, at = found[position]
                will_need(arrays["tokens"][at])
            self._fetched[numbers] = True
        if self.verify_rows:
            self._verify(rows)
        return found

    def _resolve(
        self, rows: ArrayLike, view: str | int | NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Check rows and views; returns both as int64 [n]."""
        numbers = np.asarray(rows)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise IndexError(f"rows must be integers [n], not {numbers.dtype} of {numbers.shape}")
        numbers = numbers.astype(np.int64)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            wrong = numbers[(numbers < 0) | (numbers >= len(self))][0]
            raise IndexError(f"row {wrong} is not in {self.path}, which has {len(self)} rows")
        if isinstance(view, str):
            if view not in self.views:
                raise IndexError(f"{self.path} has no view {view!r}; it has {self.views}")
            view = self.views.index(view)
        chosen = np.asarray(view)
        if chosen.dtype.kind not in "iu" and chosen.size:
            raise IndexError(f"view must be a name, an index, or indices, not {view!r}")
        views = np.broadcast_to(chosen.astype(np.int64), numbers.shape)
        if views.size and (views.min() < 0 or views.max() >= len(self.views)):
            wrong = views[(views < 0) | (views >= len(self.views))][0]
            raise IndexError(f"{self.path} has {len(self.views)} views, found index {wrong}")
        return numbers, views

    def _shard(self, number: int) -> Arrays:
        """Return a shard's arrays, mapping it where it is not."""
        arrays = self._mapped.get(number)
        if arrays is None:
            with _OPENING:
                arrays = self._mapped.get(number) or self._map(number)
        return arrays

    def _map(self, number: int) -> Arrays:
        """Check a shard, and map it for as long as the cache lives.

        Images and views share the first axis of features: tokens [N * V, P, C], scales
        [N * V, P], pooled [N * V, E].
        """
        index = self._check(number)
        content = map_file(index.path)
        arrays: Arrays = {}
        for name, region in index.regions.items():
            flat = content[region.offset : region.offset + region.num_bytes].view(region.dtype)
            by_view = name in ("tokens", "scales", "pooled")
            shape = (-1, *region.shape[2:]) if by_view else region.shape
            arrays[name] = flat.reshape(shape)
        self._mapped[number] = arrays
        return arrays

    def _check(self, number: int) -> ShardIndex:
        """Open a shard and make sure that it is the one that cache.json means."""
        name = self._names[number]
        index = open_shard(
            self.path / name,
            shapes=self.shapes,
            num_views=len(self.views),
            dtype=self.fingerprint.dtype,
        )
        expected = int(self._starts[number + 1] - self._starts[number])
        if index.fingerprint != self.fingerprint.digest or shard_name(index.index) != name:
            raise CacheFormatError(
                f"{index.path}: this is shard {index.index} of features {index.fingerprint}, "
                f"expected {name} of {self.fingerprint.digest}; run `featcache verify`"
            )
        if index.num_rows != expected:
            raise CacheFormatError(f"{index.path}: {index.num_rows} rows, expected {expected}")
        return index

    def _verify(self, rows: NDArray[np.int64]) -> None:
        """Compare rows that were not read before with their digests."""
        views = len(self.views)
        for row in np.unique(rows[~self._verified[rows]]).tolist():
            number = int(np.searchsorted(self._starts, row, side="right")) - 1
            arrays, local = self._shard(number), row - int(self._starts[number])
            features = [
                arrays[name][local * views : (local + 1) * views]
                for name in ("tokens", "scales", "pooled")
                if name in arrays
            ]
            found = row_digest(arrays["sample_id"][local : local + 1], *features)
            stored = arrays["digests"][local].tobytes()
            if found != stored:
                raise CacheFormatError(
                    f"{self.path / self._names[number]}: row {local} is damaged: its digest is "
                    f"{found.hex()}, stored {stored.hex()}; run `featcache repair`"
                )
            self._verified[row] = True


def _reopen(path: Path, verify_rows: bool) -> Cache:
    return Cache.open(path, verify_rows=verify_rows)

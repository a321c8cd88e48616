"""`Cache`: the reader of a finished cache.

    cache = Cache.open("cache/ava")
    tokens = cache.tokens([3, 1, 2], view="hflip")        # float16 [3, P, C]
    prompt = cache.prompt("sort images by the number of cats.")

Rows are numbered 0 ... len(cache)-1 in the order of the data set, failed images left out.

A shard is checked when it is first touched, then its features are mapped, all shards into one
array (`featcache.mapping`): reading a batch is one ``numpy.take``, a memory copy per row, without
the interpreter lock, out of the page cache. Nothing stays open, so hundreds of shards cost no file
descriptors, and the pages belong to the kernel, which takes them back at will.

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
from featcache.mapping import RowSpace, aligned_empty
from featcache.prompts import Prompt, PromptIndex, open_prompts
from featcache.quantise import dequantise
from featcache.shard import FEATURES, open_shard_of, row_digest
from featcache.tables import LABELS_SCHEMA, SAMPLES_SCHEMA, ok_samples, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from featcache.fingerprint import Fingerprint
    from featcache.shard import ShardIndex

# One lock for every cache, held while a shard is checked and mapped, and taken around a fork: so
# a child never inherits it taken, nor an HDF5 file half-opened by a thread that it does not have.
_OPENING = Lock()
os.register_at_fork(
    before=_OPENING.acquire, after_in_parent=_OPENING.release, after_in_child=_OPENING.release
)


CHUNK = 64  # images that are in memory as int8 at a time


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
        self._indexes: dict[int, ShardIndex] = {}  # of the shards that were checked
        shapes, views = self.shapes, len(self.views)
        self._view_numbers = {name: number for number, name in enumerate(self.views)}
        kinds: dict[str, tuple[tuple[int, ...], str]] = {
            "tokens": ((shapes.num_tokens, shapes.token_dim), self.fingerprint.dtype),
            "pooled": ((shapes.pooled_dim,), "float32"),
        }
        if self.fingerprint.dtype == "int8":
            kinds["scales"] = ((shapes.num_tokens,), "float32")
        # Images and views share the first axis: tokens [slots, P, C], scales [slots, P],
        # pooled [slots, E].
        self._spaces = {
            name: RowSpace([count * views for count in counts], shape, dtype)
            for name, (shape, dtype) in kinds.items()
        }
        # Slot of each view and row, so that a batch is found by a single look-up; 0, where no row
        # lies, until it is ready to be read. The second half of both axes stays 0: negative
        # numbers look there. Memory is taken only where something is written.
        self._slots = {n: np.zeros((2 * views, 2 * len(self)), np.int64) for n in kinds}
        self._verified = np.zeros(len(self) if verify_rows else 0, bool)
        stored = "float16" if self.fingerprint.dtype == "int8" else self.fingerprint.dtype
        self._tokens_dtype = np.dtype(stored)  # of what is delivered
        self._digests: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}  # ids, digests

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
            out: Array [n, P, C] to fill, e.g. pinned memory; made where it is not given. Memory
                of torch and of ``featcache.mapping.aligned_empty`` is filled twice as fast as
                that of ``numpy.empty``.

        Returns:
            Tokens [n, P, C] in the stored dtype; float16 where they are stored as int8.

        Raises:
            IndexError: A row or a view is not in the cache.
            CacheFormatError: A shard is missing, damaged or not of this cache.
        """
        rows, view = self._address(rows, view)
        space = self._spaces["tokens"]
        shape = (len(rows), *space.array.shape[1:])
        if out is None:
            out = aligned_empty(shape, self._tokens_dtype)
        elif out.shape != shape or out.dtype != self._tokens_dtype:
            raise ValueError(
                f"out is {out.dtype} {list(out.shape)}, expected {self._tokens_dtype} {list(shape)}"
            )
        slots = self._find("tokens", rows, view)
        if "scales" not in self._spaces:
            return space.take(slots, out)
        scales, at = self._spaces["scales"], self._find("scales", rows, view)
        for n in range(0, len(rows), CHUNK):
            part = slice(n, n + CHUNK)
            dequantise(space.take(slots[part]), scales.take(at[part]), out[part])
        return out

    def pooled(
        self, rows: ArrayLike, view: str | int | NDArray[np.integer[Any]] = "original"
    ) -> NDArray[np.float32]:
        """Gather pooled embeddings, float32 [n, E]; arguments and errors as in `tokens`."""
        slots = self._find("pooled", *self._address(rows, view))
        return self._spaces["pooled"].take(slots)

    def _address(
        self, rows: ArrayLike, view: str | int | NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | int]:
        """Return rows int64 [n], and the views' indices int64 [n] or one of them."""
        numbers = np.asarray(rows)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise IndexError(f"rows must be integers [n], not {numbers.dtype} of {numbers.shape}")
        numbers = numbers.astype(np.int64)
        if isinstance(view, str):
            if view not in self._view_numbers:
                raise IndexError(f"{self.path} has no view {view!r}; it has {self.views}")
            return numbers, self._view_numbers[view]
        chosen = np.asarray(view)
        if chosen.dtype.kind not in "iu" and chosen.size:
            raise IndexError(f"view must be a name, an index, or indices, not {view!r}")
        return numbers, np.broadcast_to(chosen.astype(np.int64), numbers.shape)

    def _find(
        self, name: str, rows: NDArray[np.int64], views: NDArray[np.int64] | int
    ) -> NDArray[np.int64]:
        """Return the slots of rows int64 [n]; what was not read before is made ready.

        Raises:
            IndexError: A row or a view is not in the cache.
        """
        table = self._slots[name]
        try:
            slots: NDArray[np.int64] = table[views, rows]
        except IndexError:
            slots = np.zeros(len(rows), np.int64)
        if np.count_nonzero(slots) < len(slots):
            new = slots == 0
            self._prepare(name, rows[new], np.broadcast_to(views, rows.shape)[new])
            slots = table[views, rows]
        return slots

    def _prepare(self, name: str, rows: NDArray[np.int64], views: NDArray[np.int64]) -> None:
        """Make rows of views [n] ready to be read, or say why that cannot be."""
        if (wrong := (rows < 0) | (rows >= len(self))).any():
            raise IndexError(
                f"row {rows[wrong][0]} is not in {self.path}, which has {len(self)} rows"
            )
        if (wrong := (views < 0) | (views >= len(self.views))).any():
            raise IndexError(
                f"{self.path} has {len(self.views)} views, found index {views[wrong][0]}"
            )
        slots = self._place(name, rows, views)
        if name == "tokens":
            # From a cold disk, to ask for all rows at once is several times as fast as one page
            # fault after the other. Later they are in memory as a rule, and asking costs time.
            self._spaces[name].will_need(slots)
        if self.verify_rows:
            self._verify(np.unique(rows))
        self._slots[name][views, rows] = slots

    def _place(
        self, name: str, rows: NDArray[np.int64], views: NDArray[np.int64] | int
    ) -> NDArray[np.int64]:
        """Compute slots int64 [n]; checks and maps the shards that were not touched before."""
        space = self._spaces[name]
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        with _OPENING:
            for number in np.unique(shards).tolist():
                if space.starts[number] < 0:
                    index = self._check(number)
                    space.place(number, index.path, index.regions[name])
        places = (rows - self._starts[shards]) * len(self.views) + views
        slots: NDArray[np.int64] = space.starts[shards] + places
        return slots

    def _check(self, number: int) -> ShardIndex:
        """Open a shard, once, and make sure that it is the one that cache.json means."""
        if number in self._indexes:
            return self._indexes[number]
        name = self._names[number]
        index = open_shard_of(self.path, self.manifest, name)
        expected = int(self._starts[number + 1] - self._starts[number])
        if index.fingerprint != self.fingerprint.digest or shard_name(index.index) != name:
            raise CacheFormatError(
                f"{index.path}: this is shard {index.index} of features {index.fingerprint}, "
                f"expected {name} of {self.fingerprint.digest}; run `featcache verify`"
            )
        if index.num_rows != expected:
            raise CacheFormatError(f"{index.path}: {index.num_rows} rows, expected {expected}")
        self._indexes[number] = index
        return index

    def _verify(self, rows: NDArray[np.int64]) -> None:
        """Compare rows that were not read before with their digests."""
        new = rows[~self._verified[rows]]
        found = [(self._spaces[n], self._place(n, new, 0)) for n in FEATURES if n in self._spaces]
        shards = np.searchsorted(self._starts, new, side="right") - 1
        for n, (row, number) in enumerate(zip(new.tolist(), shards.tolist(), strict=True)):
            local = row - int(self._starts[number])
            ids, digests = self._stored_digests(number)
            views = len(self.views)
            features = [space.array[slots[n] : slots[n] + views] for space, slots in found]
            digest = row_digest(ids[local : local + 1], *features)
            stored = digests[local].tobytes()
            if digest != stored:
                raise CacheFormatError(
                    f"{self.path / self._names[number]}: row {local} is damaged: its digest is "
                    f"{digest.hex()}, stored {stored.hex()}; run `featcache repair`"
                )
            self._verified[row] = True

    def _stored_digests(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Read a shard's sample ids and digests, once: some tens of bytes per row."""
        if number not in self._digests:
            index = self._indexes[number]
            ids, digests = (index.regions[k].read(index.path) for k in ("sample_id", "digests"))
            self._digests[number] = ids, digests
        return self._digests[number]


def _reopen(path: Path, verify_rows: bool) -> Cache:
    return Cache.open(path, verify_rows=verify_rows)

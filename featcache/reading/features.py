"""`Features`: the rows of all shards of a cache, checked, found and copied.

A shard is checked when it is first touched, then its features are mapped, all shards into one
array (``mapping.py``): reading a batch is one ``numpy.take``, a memory copy per row, without the
interpreter lock, out of the page cache. Nothing stays open, so hundreds of shards cost no file
descriptors, and the pages belong to the kernel, which takes them back at will.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.errors import CacheFormatError
from featcache.reading.mapping import RowSpace
from featcache.storage.layout import shard_name
from featcache.storage.shard import FEATURES, mismatches, open_shard_of, row_digest
from featcache.wording import quantity

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from featcache.storage.manifest import Manifest
    from featcache.storage.shard import ShardIndex

# One lock for every cache, held while a shard is checked and mapped, and taken around a fork: so
# a child never inherits it taken, nor an HDF5 file half-opened by a thread that it does not have.
_OPENING = Lock()
os.register_at_fork(
    before=_OPENING.acquire, after_in_parent=_OPENING.release, after_in_child=_OPENING.release
)


class Features:
    """What the shards of a finished cache hold, by row and view.

    Rows are numbered through all shards. Rows and views share the first axis of an array of
    slots; `find` tells the slots of a batch, `take` copies them.

    Attributes:
        spaces: For each kind of features its array: tokens [slots, P, C] as they are stored,
            pooled float32 [slots, E] and, with int8 tokens, scales float32 [slots, P].
        counts: int64 [shards], rows of each.
        starts: int64 [shards + 1], rows before each.
        shards: The shards that were touched, by number.
        verified: bool [rows], which rows were compared with their digests; empty where none is.

    Args:
        path: The cache's folder.
        manifest: What the cache is.
        verify_rows: Compare each row with its digest when it is first found.

    Raises:
        CacheFormatError: cache.json does not list all shards.
        MappingError: The addresses for them cannot be had (``ulimit -v``).
    """

    def __init__(self, path: Path, manifest: Manifest, *, verify_rows: bool = False) -> None:
        entries = manifest.shards()
        self._names = list(entries)
        if self._names != [shard_name(n) for n in range(len(entries))]:
            raise CacheFormatError(
                f"{path}: cache.json does not list shards 0 ... {len(entries) - 1}: "
                f"{', '.join(self._names[:8])} ...; run `featcache repair`"
            )
        self._path = path
        self._manifest = manifest
        self._verify_rows = verify_rows
        self.counts = np.array([entry.rows or 0 for entry in entries.values()], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.counts)])  # [shards + 1]
        self._views = views = len(manifest.fingerprint.views)
        shapes, dtype = manifest.shapes, manifest.fingerprint.dtype
        kinds: dict[str, tuple[tuple[int, ...], str]] = {
            "pooled": ((shapes.pooled_dim,), "float32")
        }
        if shapes.num_tokens:
            kinds["tokens"] = ((shapes.num_tokens, shapes.token_dim), dtype)
            if dtype == "int8":
                kinds["scales"] = ((shapes.num_tokens,), "float32")
        self.spaces = {
            name: RowSpace((self.counts * views).tolist(), shape, dtype)
            for name, (shape, dtype) in kinds.items()
        }
        # Slot of each view and row, so that a batch is found by a single look-up; 0, where no row
        # lies, until it is ready to be read. The second half of both axes stays 0: negative
        # numbers look there. Memory is taken only where something is written.
        self._slots = {n: np.zeros((2 * views, 2 * len(self)), np.int64) for n in kinds}
        self.shards: dict[int, ShardIndex] = {}
        self.verified = np.zeros(len(self) if verify_rows else 0, bool)
        self._digests: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}  # ids, digests

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.starts[-1])

    def take(
        self, name: str, slots: NDArray[np.int64], out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Copy what lies at slots [n], as `find` returned them, into ``out`` or a new array."""
        return self.spaces[name].take(slots, out)

    def find(
        self, name: str, rows: NDArray[np.int64], views: NDArray[np.int64] | int
    ) -> NDArray[np.int64]:
        """Return the slots int64 [n] of rows int64 [n]; new ones are made ready to be read.

        Args:
            name: Which features.
            rows: In any order, repeats allowed.
            views: The view of each row, or one for all.

        Raises:
            IndexError: A row or a view is not in the cache.
            CacheFormatError: A shard is missing, damaged or not of this cache.
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

    def shard(self, number: int) -> ShardIndex:
        """Open a shard, once, and make sure that it is the one that cache.json means."""
        if number in self.shards:
            return self.shards[number]
        name = self._names[number]
        index = open_shard_of(self._path, self._manifest, name)
        if found := mismatches(index, self._manifest, name, self._manifest.files[name]):
            raise CacheFormatError(f"{index.path}: {'; '.join(found)}; run `featcache verify`")
        self.shards[number] = index
        return index

    def _prepare(self, name: str, rows: NDArray[np.int64], views: NDArray[np.int64]) -> None:
        """Make rows of views [n] ready to be read, or say why that cannot be."""
        if (outside := (rows < 0) | (rows >= len(self))).any():
            raise IndexError(
                f"row {rows[outside][0]} is not in {self._path}, which has "
                f"{quantity(len(self), 'row')}"
            )
        if (outside := (views < 0) | (views >= self._views)).any():
            raise IndexError(
                f"{self._path} has {quantity(self._views, 'view')}, found index {views[outside][0]}"
            )
        slots = self._place(name, rows, views)
        if name == "tokens":
            # From a cold disk, to ask for all rows at once is several times as fast as one page
            # fault after the other. Later they are in memory as a rule, and asking costs time.
            self.spaces[name].will_need(slots)
        if self._verify_rows:
            self._verify(np.unique(rows))
        self._slots[name][views, rows] = slots

    def _place(
        self, name: str, rows: NDArray[np.int64], views: NDArray[np.int64] | int
    ) -> NDArray[np.int64]:
        """Compute slots int64 [n]; checks and maps the shards that were not touched before."""
        space = self.spaces[name]
        shards = np.searchsorted(self.starts, rows, side="right") - 1
        with _OPENING:
            for number in np.unique(shards).tolist():
                if space.starts[number] < 0:
                    index = self.shard(number)
                    space.place(number, index.path, index.regions[name])
        places = (rows - self.starts[shards]) * self._views + views
        slots: NDArray[np.int64] = space.starts[shards] + places
        return slots

    def _verify(self, rows: NDArray[np.int64]) -> None:
        """Compare rows that were not read before with their digests."""
        new = rows[~self.verified[rows]]
        found = [(self.spaces[n], self._place(n, new, 0)) for n in FEATURES if n in self.spaces]
        shards = np.searchsorted(self.starts, new, side="right") - 1
        for n, (row, number) in enumerate(zip(new.tolist(), shards.tolist(), strict=True)):
            local = row - int(self.starts[number])
            ids, digests = self._stored_digests(number)
            features = [space.array[slots[n] : slots[n] + self._views] for space, slots in found]
            digest = row_digest(ids[local : local + 1], *features)
            stored = digests[local].tobytes()
            if digest != stored:
                raise CacheFormatError(
                    f"{self._path / self._names[number]}: row {local} is damaged: its digest is "
                    f"{digest.hex()}, stored {stored.hex()}; run `featcache repair`"
                )
            self.verified[row] = True

    def _stored_digests(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Read a shard's sample ids and digests, once: some tens of bytes per row."""
        if number not in self._digests:
            index = self.shards[number]
            ids, digests = (index.regions[k].read(index.path) for k in ("sample_id", "digests"))
            self._digests[number] = ids, digests
        return self._digests[number]

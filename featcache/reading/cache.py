"""`Cache`: the reader of a finished cache.

    cache = Cache.open("cache/ava")
    tokens = cache.tokens([3, 1, 2], view="hflip")        # float16 [3, P, C]
    prompt = cache.prompt("sort images by the number of cats.")

Rows are numbered 0 ... len(cache)-1 in the order of the shards, images that failed or are gone left
out: the order of the data set, and images that came since at the end.

A cache may be read from many threads, inherited by forked processes (the mappings are shared, and
nobody is forked while a shard is being opened), and pickled to others (what crosses is its path).
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from featcache.datasets.columns import LABELS_SCHEMA, places
from featcache.datasets.stand_in import WORDS
from featcache.errors import CacheFormatError, TokensNotStoredError
from featcache.reading.features import Features
from featcache.reading.mapping import aligned_empty
from featcache.storage.durable import file_digest
from featcache.storage.fingerprint import digest
from featcache.storage.layout import LABELS, PROMPTS, SAMPLES, Shapes
from featcache.storage.manifest import Manifest
from featcache.storage.prompts import Prompt, PromptIndex, open_prompts
from featcache.storage.quantize import dequantize
from featcache.storage.tables import (
    SAMPLES_SCHEMA,
    content_digest,
    decoded,
    ok_samples,
    read_table,
    without_gone,
)
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from featcache.storage.fingerprint import Fingerprint

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
        self._features = Features(path, manifest, verify_rows=verify_rows)
        self._view_numbers = {name: number for number, name in enumerate(self.views)}
        self._quantized = self.fingerprint.dtype == "int8"
        self._length = sum(entry.num_live for entry in manifest.shards().values())
        self._tokens_shape = (self.shapes.num_tokens, self.shapes.token_dim)
        self._tokens_dtype = np.dtype("float16" if self._quantized else self.fingerprint.dtype)

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
        return self._length

    def __repr__(self) -> str:
        """Say what it is."""
        images, views = quantity(len(self), "image"), ", ".join(self.views)
        return f"Cache({str(self.path)!r}, {images}, views {views})"

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
    def identity(self) -> str:
        """What tells this cache from every other: 32 hexadecimal digits, the same in copies."""
        return self.manifest.identity

    @property
    def name(self) -> str:
        """What people call the cache: ``--name``, or else the data set's name.

        The name of a drawn stand-in says that it is one.
        """
        name = self.manifest.name
        return f"{name} ({WORDS})" if self.stand_in else name

    @property
    def stand_in(self) -> bool:
        """Whether images or labels are those of a drawn stand-in of a data set."""
        return self.manifest.stand_in

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.manifest.dataset["name"])

    @cached_property
    def labels(self) -> pa.Table:
        """labels.parquet."""
        return decoded(self.coded_labels, LABELS_SCHEMA)

    @cached_property
    def coded_labels(self) -> pa.Table:
        """labels.parquet with its texts as codes of dictionaries, for choosing among millions."""
        return self._table(LABELS, LABELS_SCHEMA, coded=True)

    @cached_property
    def samples(self) -> pa.Table:
        """samples.parquet, failed images included, without those that are gone."""
        return without_gone(self._table(SAMPLES, SAMPLES_SCHEMA))

    def read_samples(self, *columns: str) -> pa.Table:
        """Return columns of `samples`, without reading the others."""
        if "samples" in self.__dict__:
            return self.samples.select(columns)
        needed = list(dict.fromkeys((*columns, "status")))
        return without_gone(self._table(SAMPLES, SAMPLES_SCHEMA, needed)).select(columns)

    @cached_property
    def sample_ids(self) -> pa.Array[Any]:
        """Ids of the rows, in order."""
        ids = ok_samples(self.read_samples("sample_id", "status"))["sample_id"].combine_chunks()
        if len(ids) != len(self):
            raise CacheFormatError(
                f"{self.path / SAMPLES}: {quantity(len(ids), 'image')} with features, the "
                "shards have "
                f"{len(self)}; run `featcache repair`"
            )
        return ids

    @cached_property
    def _stored_rows(self) -> NDArray[np.int64] | None:
        """Number of each row among all that the shards hold; None where readers see all."""
        if not self.manifest.grown:
            return None
        images = ok_samples(self.read_samples("shard", "row", "status"))
        shards, rows = (np.asarray(images[name], np.int64) for name in ("shard", "row"))
        counts, starts = self._features.counts, self._features.starts
        last = len(counts) - 1
        stored: NDArray[np.int64] = starts[shards.clip(0, last)] + rows
        inside = (shards >= 0) & (shards <= last) & (rows >= 0)
        inside &= rows < counts[shards.clip(0, last)]
        if len(images) != len(self) or not inside.all() or (np.diff(stored) <= 0).any():
            raise CacheFormatError(
                f"{self.path / SAMPLES}: its rows are not those of the shards; "
                "run `featcache repair`"
            )
        return stored

    @cached_property
    def state(self) -> str:
        """Digest of what is read here: features, the images of the rows, in order, and labels.

        Two caches, or one cache at two times, with the same state give a training the same
        numbers. Paths, prompts and the places of images in shards are not part of it.
        """
        images = ok_samples(self.read_samples("sample_id", "sha256", "status"))
        images = images.select(["sample_id", "sha256"])
        return digest(
            {
                "features": self.fingerprint.digest,
                "images": content_digest(images),
                "labels": content_digest(self.labels),
            }
        )

    def _table(
        self,
        name: str,
        schema: pa.Schema,
        columns: Sequence[str] | None = None,
        *,
        coded: bool = False,
    ) -> pa.Table:
        """Read a table, and make sure that it is the one that cache.json means.

        A table of another cache would read well, and its rows would belong to other images.
        """
        table = read_table(self.path / name, schema, columns, coded=coded)
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
        return places(wanted, self.sample_ids)

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
                of torch and of ``featcache.reading.mapping.aligned_empty`` is filled twice as
                fast as that of ``numpy.empty``.

        Returns:
            Tokens [n, P, C] in the stored dtype; float16 where they are stored as int8.

        Raises:
            IndexError: A row or a view is not in the cache.
            CacheFormatError: A shard is missing, damaged or not of this cache.
            TokensNotStoredError: The cache holds no tokens.
        """
        if not self.shapes.num_tokens:
            raise TokensNotStoredError(
                f"{self.path} holds pooled embeddings only; for patch tokens, extract again into "
                "another folder, without --tokens none"
            )
        rows, view = self._address(rows, view)
        shape = (len(rows), *self._tokens_shape)
        if out is None:
            out = aligned_empty(shape, self._tokens_dtype)
        elif out.shape != shape or out.dtype != self._tokens_dtype:
            raise ValueError(
                f"out is {out.dtype} {list(out.shape)}, expected {self._tokens_dtype} {list(shape)}"
            )
        slots = self._features.find("tokens", rows, view)
        if not self._quantized:
            return self._features.take("tokens", slots, out)
        scales = self._features.find("scales", rows, view)
        for n in range(0, len(rows), CHUNK):
            part = slice(n, n + CHUNK)
            quantized = self._features.take("tokens", slots[part])  # int8 [m, P, C]
            dequantize(quantized, self._features.take("scales", scales[part]), out[part])
        return out

    def pooled(
        self, rows: ArrayLike, view: str | int | NDArray[np.integer[Any]] = "original"
    ) -> NDArray[np.float32]:
        """Gather pooled embeddings, float32 [n, E]; arguments and errors as in `tokens`."""
        slots = self._features.find("pooled", *self._address(rows, view))
        return self._features.take("pooled", slots)

    def _address(
        self, rows: ArrayLike, view: str | int | NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | int]:
        """Return rows int64 [n], and the views' indices int64 [n] or one of them."""
        numbers = np.asarray(rows)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise IndexError(f"rows must be integers [n], not {numbers.dtype} of {numbers.shape}")
        numbers = numbers.astype(np.int64)
        if (stored := self._stored_rows) is not None:  # else `Features` checks them
            if (outside := (numbers < 0) | (numbers >= len(self))).any():
                raise IndexError(
                    f"row {numbers[outside][0]} is not in {self.path}, which has "
                    f"{quantity(len(self), 'row')}"
                )
            numbers = stored[numbers]
        if isinstance(view, str):
            if view not in self._view_numbers:
                raise IndexError(f"{self.path} has no view {view!r}; it has {self.views}")
            return numbers, self._view_numbers[view]
        chosen = np.asarray(view)
        if chosen.dtype.kind not in "iu" and chosen.size:
            raise IndexError(f"view must be a name, an index, or indices, not {view!r}")
        return numbers, np.broadcast_to(chosen.astype(np.int64), numbers.shape)


def _reopen(path: Path, verify_rows: bool) -> Cache:
    return Cache.open(path, verify_rows=verify_rows)

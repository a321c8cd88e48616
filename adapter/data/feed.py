"""From a plan of batches to tensors on the device, ahead of the step that needs them.

Where tokens are read from is one of three sources behind one method:

- ``disk``: rows are gathered from the cache's shards as they are needed (the page cache keeps
  what fits);
- ``ram``: the rows of the run are gathered once into one contiguous array;
- ``device``: the same, as one tensor in the device's memory, gathered there by ``index_select``.

Gathering is a memory copy that releases the interpreter lock, so threads are enough: no worker
processes, nothing to fork around HDF5. On CUDA a batch goes through pinned memory and its own
stream, so the copy overlaps the step before it.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from adapter.data.labels import FeatureCache
    from adapter.data.sampling import Batch, Sampler
    from adapter.data.targets import TargetScales
    from adapter.settings import SourceKind

AHEAD = 2  # batches that are prepared while a step runs
CHUNK = 256  # images per read while a source is filled


class TokenSource(Protocol):
    """Gathers patch tokens of one cache."""

    def gather(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        """Return tokens [b, P, C] in the stored dtype, on the host or on the device."""


class DiskSource:
    """Reads from the shards at each call."""

    def __init__(self, cache: FeatureCache, *, pinned: bool = False) -> None:
        self._cache = cache
        self._shape, self._dtype = token_layout(cache)
        self._pinned = pinned

    def gather(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        """Return tokens [b, P, C] on the host."""
        out = torch.empty((len(rows), *self._shape), dtype=self._dtype, pin_memory=self._pinned)
        self._cache.tokens(rows, view=views, out=out.numpy())
        return out


class MemorySource:
    """Holds the rows of a run in one tensor [n * V, P, C], on the host or on a device.

    Args:
        cache: Where the rows are read from, once.
        rows: int64 [n], sorted: every image that will be asked for.
        views: int64 [V]: every view that will be asked for.
        device: Where the tensor lives.
        pinned: Gather into pinned memory (host only).
    """

    def __init__(
        self,
        cache: FeatureCache,
        rows: NDArray[np.int64],
        views: NDArray[np.int64],
        device: torch.device,
        *,
        pinned: bool = False,
    ) -> None:
        shape, dtype = token_layout(cache)
        self._rows = rows
        self._view_at = np.full(len(cache.views), -1, np.int64)
        self._view_at[views] = np.arange(len(views))
        self._views = len(views)
        self._pinned = pinned
        self._flat = torch.empty((len(rows) * len(views), *shape), dtype=dtype, device=device)
        by_image = self._flat.view(len(rows), len(views), *shape)  # [n, V, P, C]
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            for at, view in enumerate(views):
                index = np.full(len(part), view, np.int64)
                tokens = torch.from_numpy(np.ascontiguousarray(cache.tokens(part, view=index)))
                by_image[start : start + len(part), at] = tokens.to(device)

    def gather(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        """Return tokens [b, P, C] where the tensor lives."""
        at = np.searchsorted(self._rows, rows) * self._views + self._view_at[views]
        index = torch.from_numpy(at)
        if self._flat.device.type != "cpu":
            return self._flat.index_select(0, index.to(self._flat.device))
        out = torch.empty(
            (len(rows), *self._flat.shape[1:]), dtype=self._flat.dtype, pin_memory=self._pinned
        )
        return torch.index_select(self._flat, 0, index, out=out)


@dataclass(frozen=True, kw_only=True)
class TrainBatch:
    """One batch, ready for the step.

    Attributes:
        plan: The whole batch over all processes, b images.
        image_tokens: [n, P, C] of this process's part, in the stored dtype, on the device.
        text_tokens: float32 [T, D] of the prompt, or [Q, T, D] of several, on the device.
        targets: float32 [b], standardized, on the device; of comparisons, shares of the answers.
            Of several queries [Q, b], NaN where there is no label.
    """

    plan: Batch
    image_tokens: Tensor
    text_tokens: Tensor
    targets: Tensor


class Feed:
    """Iterates over the batches of a range of steps, prepared in threads.

    Args:
        caches: The caches that ``sampler`` draws from.
        sampler: What batch k holds.
        scales: Units of the targets.
        sources: One source per cache.
        device: Where the batches go.
        rank: This process.
        world: How many processes share a batch.
    """

    def __init__(
        self,
        caches: Sequence[FeatureCache],
        sampler: Sampler,
        scales: TargetScales,
        sources: Sequence[TokenSource],
        device: torch.device,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._caches = caches
        self._sampler = sampler
        self._scales = scales
        self._sources = sources
        self._device = device
        self._rank, self._world = rank, world
        self._texts: dict[tuple[int, str], Tensor] = {}
        self._stream = _copy_stream(device)

    def batches(self, first: int, last: int) -> Generator[TrainBatch]:
        """Yield batches ``first`` … ``last - 1``; closing the iterator ends the threads."""
        waiting: deque[Future[tuple[TrainBatch, torch.cuda.Event | None]]] = deque()
        pool = ThreadPoolExecutor(max_workers=AHEAD, thread_name_prefix="feed")
        try:
            for step in range(first, min(first + AHEAD, last)):
                waiting.append(pool.submit(self._prepare, step))
            for step in range(first, last):
                batch, copied = waiting.popleft().result()
                if step + AHEAD < last:
                    waiting.append(pool.submit(self._prepare, step + AHEAD))
                if copied is not None:
                    stream = torch.cuda.current_stream(self._device)
                    stream.wait_event(copied)
                    for tensor in (batch.image_tokens, batch.targets):
                        tensor.record_stream(stream)
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, step: int) -> tuple[TrainBatch, torch.cuda.Event | None]:
        """Draw, gather and send one batch; runs in a thread."""
        if self._stream is None:
            return self._build(step), None
        with torch.cuda.stream(self._stream):
            batch = self._build(step)
            event = self._stream.record_event()
        return batch, event

    def _build(self, step: int) -> TrainBatch:
        plan = self._sampler.batch(step)
        part = part_of(len(plan), self._rank, self._world)
        tokens = self._sources[plan.shard].gather(plan.rows[part], plan.views[part])
        return TrainBatch(
            plan=plan,
            image_tokens=tokens.to(self._device, non_blocking=True),
            text_tokens=self._texts_of(plan),
            targets=self._send(self._targets(plan)),
        )

    def _targets(self, plan: Batch) -> NDArray[np.float64]:
        """Return what the losses read: labels in the network's unit, or shares of answers."""
        if plan.compared:
            return plan.values
        found = [
            self._scales.of_task(plan.shard, asked.task).standardize(asked.values)
            for asked in plan.labeled
        ]
        return np.stack(found) if plan.others else found[0]

    def _texts_of(self, plan: Batch) -> Tensor:
        """Return the tokens of the prompt [T, D], or of several [Q, T, D]."""
        first = self._text(plan.shard, plan.prompt)
        if not plan.others:
            return first
        return torch.stack([first, *(self._text(plan.shard, o.query) for o in plan.others)])

    def _send(self, values: NDArray[np.float64]) -> Tensor:
        tensor = torch.from_numpy(values.astype(np.float32))
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)

    def _text(self, shard: int, prompt: str) -> Tensor:
        """Read a prompt's tokens once and keep them on the device."""
        key = (shard, prompt)
        if key not in self._texts:
            tokens = torch.from_numpy(np.array(self._caches[shard].prompt(prompt).tokens))
            self._texts[key] = tokens.float().to(self._device)  # blocking: safe on any stream
        return self._texts[key]


def _copy_stream(device: torch.device) -> torch.cuda.Stream | None:
    """Make the stream on which batches travel; there is none on the CPU."""
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def part_of(count: int, rank: int, world: int) -> slice:
    """Return process ``rank``'s share of a batch; shares differ by at most one image."""
    return slice(count * rank // world, count * (rank + 1) // world)


def token_layout(cache: FeatureCache) -> tuple[tuple[int, ...], torch.dtype]:
    """Return the shape (P, C) and dtype of the tokens that a cache hands out."""
    one = cache.tokens(np.zeros(1, np.int64), view=np.zeros(1, np.int64))
    return one.shape[1:], torch.from_numpy(one).dtype


def open_source(
    kind: SourceKind,
    cache: FeatureCache,
    rows: NDArray[np.int64],
    views: NDArray[np.int64],
    device: torch.device,
    *,
    reads: int,
) -> tuple[str, TokenSource]:
    """Choose and fill a source.

    Args:
        kind: Which; ``auto`` takes the fastest that leaves half of the free memory, and gathers
            ahead only what is read at least once on average.
        cache: Where the tokens are.
        rows: Every image that will be asked for.
        views: Every view that will be asked for.
        device: The device of the run.
        reads: How many images the run will ask for in all.

    Returns:
        The kind that was chosen, and the source.
    """
    if kind == "auto":
        shape, dtype = token_layout(cache)
        images = len(rows) * len(views)
        kind = choose_source(images, images * int(np.prod(shape)) * dtype.itemsize, device, reads)
    pinned = device.type == "cuda"
    if kind == "disk":
        return kind, DiskSource(cache, pinned=pinned)
    home = device if kind == "device" else torch.device("cpu")
    return kind, MemorySource(cache, rows, views, home, pinned=pinned and kind == "ram")


def choose_source(images: int, size: int, device: torch.device, reads: int) -> SourceKind:
    """Choose by size in bytes against free memory; see :func:`open_source`."""
    if reads < images:
        return "disk"
    if device.type == "cuda" and size <= torch.cuda.mem_get_info(device)[0] // 2:
        return "device"
    return "ram" if size <= available_memory() // 2 else "disk"


def available_memory() -> int:
    """Return how many bytes of memory can be had without swapping; 0 when it is not known."""
    bounds = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        bounds.append(int(fields["MemAvailable"].split()[0]) * 1024)
    elif "SC_AVPHYS_PAGES" in os.sysconf_names:
        bounds.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        bounds.append(max(int(limit.read_text()) - int(used.read_text()), 0))
    return min(bounds, default=0)


def to_compute(tokens: Tensor) -> Tensor:
    """Widen stored tokens for the network; autocast narrows them again where it pays."""
    return tokens if tokens.dtype == torch.float32 else tokens.float()

"""Scenes drawn ahead: chunks of pictures and truth on disk, drawn by another process.

Chunk c follows from (seed, c) alone, so the training is the same however fast the drawing is.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

from featcache.backbone.embedded.facts import ATTRIBUTES, truth_of
from featcache.datasets.scenes import CLEAN, MAX_OBJECTS, compose, develop, random_look
from featcache.images.measures import measure

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

CLEAN_SHARE = 0.35  # of pictures without any look; a random look is none now and then, too
_FILES = ("pixels", "truth", "objects")


@dataclass(frozen=True)
class Scenes:
    """Scenes as arrays.

    Attributes:
        pixels: uint8 [n, S, S, 3].
        truth: float32 [n, K]; see `featcache.backbone.embedded.facts`.
        objects: int16 [n, MAX_OBJECTS, 6]: x, y, and the index of the object's value in each of
            `ATTRIBUTES`; -1 where there is no object.
    """

    pixels: NDArray[np.uint8]
    truth: NDArray[np.float32]
    objects: NDArray[np.int16]


def draw(seed: int, start: int, count: int, size: int) -> Scenes:
    """Draw scenes ``start`` ... ``start + count - 1``, some as they are, some with a look."""
    pixels = np.empty((count, size, size, 3), np.uint8)
    truth = []
    table = np.full((count, MAX_OBJECTS, 2 + len(ATTRIBUTES)), -1, np.int16)
    for i in range(count):
        rng = np.random.default_rng([seed, start + i])
        image, objects = compose(rng, size)
        look = CLEAN if rng.random() < CLEAN_SHARE else random_look(rng)
        pixels[i] = develop(image, look, rng)
        truth.append(truth_of(objects, look, measure(pixels[i])))
        for j, thing in enumerate(objects):
            values = [v.index(getattr(thing, name)) for name, v in ATTRIBUTES.items()]
            table[i, j] = (thing.x, thing.y, *values)
    return Scenes(pixels, np.stack(truth), table)


class Pool:
    """Chunks of scenes in a folder; a context manager, which ends the drawing process."""

    def __init__(self, folder: Path, seed: int, size: int, chunk: int) -> None:
        """Open a folder; it may hold chunks of an earlier run.

        Args:
            folder: Of chunks of any kind.
            seed: Of the scenes.
            size: Width and height of a picture, pixels.
            chunk: Scenes in a chunk.
        """
        self._folder = folder / f"seed-{seed}-size-{size}-chunk-{chunk}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.chunk = chunk
        self._seed, self._size = seed, size
        self._open: dict[int, Scenes] = {}
        self._drawn: dict[int, Future[None]] = {}
        self._process = _start()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.shutdown(cancel_futures=True)

    def ask(self, chunk: int) -> None:
        """Have a chunk drawn if it is not there."""
        if chunk in self._drawn or self._place(chunk).is_dir():
            return
        what = (self._place(chunk), self._seed, chunk, self.chunk, self._size)
        try:
            self._drawn[chunk] = self._process.submit(_draw_chunk, *what)
        except BrokenProcessPool:  # it was killed, perhaps for memory
            self._process = _start()
            self._drawn = {chunk: self._process.submit(_draw_chunk, *what)}

    def take(self, chunks: NDArray[np.int64], rows: NDArray[np.int64]) -> Scenes:
        """Return scenes by chunk and row; waits for chunks that are still being drawn."""
        parts = [self._get(chunk) for chunk in chunks.tolist()]
        picked = list(zip(parts, rows.tolist(), strict=True))
        return Scenes(
            np.stack([part.pixels[row] for part, row in picked]),
            np.stack([part.truth[row] for part, row in picked]),
            np.stack([part.objects[row] for part, row in picked]),
        )

    def _get(self, chunk: int) -> Scenes:
        if chunk not in self._open:
            self.ask(chunk)
            if chunk in self._drawn:
                self._wait_for(chunk)
            files = [self._place(chunk) / f"{name}.npy" for name in _FILES]
            arrays = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
            self._open[chunk] = Scenes(*arrays)
        return self._open[chunk]

    def _wait_for(self, chunk: int) -> None:
        try:
            self._drawn.pop(chunk).result()
        except BrokenProcessPool:
            self.ask(chunk)  # once more
            self._drawn.pop(chunk).result()

    def _place(self, chunk: int) -> Path:
        return self._folder / f"{chunk:06d}"


def _start() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _draw_chunk(place: Path, seed: int, chunk: int, count: int, size: int) -> None:
    os.nice(5)  # the training goes first
    scenes = draw(seed, chunk * count, count, size)
    unfinished = place.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for name in _FILES:
        np.save(unfinished / f"{name}.npy", getattr(scenes, name))
    unfinished.rename(place)

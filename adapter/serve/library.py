"""The photos of a cache as the page shows them: by row, never by a path that somebody sends."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from adapter.errors import ConfigError
from adapter.serve.marks import Mark
from adapter.takeaway.sidecars import photo_marks
from adapter.takeaway.xmp import XmpError
from featcache.datasets.paths import safe_relative
from featcache.errors import DatasetError
from featcache.images.decode import decode, read_file
from featcache.images.taken import time_taken
from featcache.storage.durable import make_folders, write_bytes
from featcache.storage.tables import ok_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adapter.serve.marks import Flag
    from featcache.reading.cache import Cache

THUMBNAIL, LARGE = 320, 2048  # pixels of the longer side
MAX_PIXELS = 178_956_970
WINDOW = 50  # neighbors by name that a photo is compared with for near-duplicates
BLOCK = 256  # photos that are compared with their neighbors at once, as one product of matrices


@dataclass(frozen=True, kw_only=True)
class Library:
    """Photos, and where their thumbnails are kept.

    Attributes:
        cache: Their features.
        root: Their folder; None where only features are there.
        thumbnails: A folder of the user's, never the photos' own.
        dates: File that keeps when photos were taken; None keeps nothing.
    """

    cache: Cache
    root: Path | None
    thumbnails: Path
    dates: Path | None = None

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.cache)

    @cached_property
    def samples(self) -> list[str]:
        """Sample ids by row."""
        return [str(name) for name in self.cache.sample_ids.to_pylist()]

    @cached_property
    def paths(self) -> list[str]:
        """Paths below the root by row."""
        table = ok_samples(self.cache.read_samples("path", "status"))
        return [str(path) for path in table["path"].to_pylist()]

    @cached_property
    def digests(self) -> list[str]:
        """SHA-256 of the files by row."""
        table = ok_samples(self.cache.read_samples("sha256", "status"))
        return [str(found) for found in table["sha256"].to_pylist()]

    @cached_property
    def folders(self) -> list[str]:
        """Folders of the photos, sorted, each once."""
        return sorted(set(self._folder_names))

    @cached_property
    def folder_of(self) -> NDArray[np.int64]:
        """Number of each photo's folder in ``folders``."""
        places = {name: at for at, name in enumerate(self.folders)}
        return np.array([places[name] for name in self._folder_names], np.int64)

    @cached_property
    def _folder_names(self) -> list[str]:
        return [str(PurePosixPath(path).parent) for path in self.paths]

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """When each photo was taken, seconds since 1970; NaN where its file is not there.

        What EXIF says, or else when the file was last changed. Read once for each content, and
        kept: of 100,000 photos it takes minutes.
        """
        known = self._known_times()
        found = np.full(len(self), np.nan)
        if self.root is None:
            return found
        for row, digest in enumerate(self.digests):
            try:
                if digest not in known:
                    known[digest] = time_taken(self.file(row))
                found[row] = known[digest]
            except (OSError, ConfigError):
                continue  # no date, so that no filter by date shows it
        if self.dates is not None:
            write_bytes(self.dates, json.dumps(known).encode())
        return found

    def _known_times(self) -> dict[str, float]:
        """Return what was kept; nothing where that is not there, or damaged."""
        if self.dates is None:
            return {}
        try:
            kept = json.loads(self.dates.read_bytes())
            return {str(name): float(seconds) for name, seconds in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # it is read from the photos again

    def file(self, row: int) -> Path:
        """Return a photo's file.

        Raises:
            ConfigError: There is no such row, no root, or the path leads out of it.
        """
        if not 0 <= row < len(self):
            raise ConfigError(f"there is no photo {row}")
        if self.root is None:
            raise ConfigError("the page was started without --root, so it has no pictures")
        try:
            return safe_relative(self.root, self.paths[row])
        except DatasetError as error:
            raise ConfigError(str(error)) from error

    def picture(self, row: int, side: int) -> bytes:
        """Return a photo as an upright JPEG of at most ``side`` pixels.

        Raises:
            ConfigError, ImageError: It cannot be read.
        """
        image = decode(
            read_file(self.file(row)),
            orientation="exif",
            truncated="pad",
            max_pixels=MAX_PIXELS,
            color="srgb",
            enough=lambda width, height: _within(width, height, side),
        ).rgb
        image.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=82)
        return buffer.getvalue()

    def thumbnail(self, row: int) -> bytes:
        """Return a small picture, made once and kept."""
        if not 0 <= row < len(self):
            raise ConfigError(f"there is no photo {row}")
        name = self.digests[row]
        path = self.thumbnails / name[:2] / f"{name}.jpg"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            content = self.picture(row, THUMBNAIL)
        make_folders(path.parent)
        write_bytes(path, content)
        return content

    def sidecar_marks(self) -> tuple[dict[str, Mark], list[str]]:
        """Read ratings from XMP sidecars; returns marks by sample, and what could not be read."""
        found: dict[str, Mark] = {}
        problems: list[str] = []
        if self.root is None:
            return found, problems
        for row, sample in enumerate(self.samples):
            try:
                rating = photo_marks(self.file(row)).rating
            except (XmpError, OSError, ConfigError) as error:
                problems.append(str(error))
                continue
            if rating is not None:
                flag: Flag = "reject" if rating < 0 else "none"
                found[sample] = Mark(stars=max(rating, 0), flag=flag)
        return found, problems

    @cached_property
    def directions(self) -> NDArray[np.float32]:
        """Pooled embeddings of length 1, float32 [N, E]."""
        pooled = self.cache.pooled(np.arange(len(self)))
        length = np.linalg.norm(pooled, axis=1, keepdims=True)
        return (pooled / np.where(length > 0, length, 1)).astype(np.float32)

    def duplicates(self, threshold: float, *, across: bool = False) -> NDArray[np.int64]:
        """Group near-duplicates: int64 [N], the smallest row of each photo's group.

        Photos are compared with the next ``WINDOW`` by folder and name, where bursts are.

        Args:
            threshold: Cosine of the pooled embeddings from which on two photos are one.
            across: Whether photos of different folders may be one group.
        """
        count = len(self)
        order = sorted(range(count), key=lambda row: (self._folder_names[row], self.paths[row]))
        rows = np.array(order, np.int64)
        directions, folder = self.directions[rows], self.folder_of[rows]
        ones, others = [], []
        for start in range(0, count, BLOCK):
            block = directions[start : start + BLOCK]  # [b, E]
            there = directions[start : start + BLOCK + WINDOW]  # [c, E]
            one, other = np.nonzero(block @ there.T >= threshold)
            ahead = (other > one) & (other <= one + WINDOW)
            if not across:
                ahead &= folder[start + one] == folder[start + other]
            ones.append(start + one[ahead])
            others.append(start + other[ahead])
        pairs = np.concatenate(ones), np.concatenate(others)
        near = coo_array((np.ones(len(pairs[0]), bool), pairs), shape=(count, count))
        number, label = connected_components(near, directed=False)
        first = np.full(number, count, np.int64)
        np.minimum.at(first, label, rows)
        group = np.empty(count, np.int64)
        group[rows] = first[label]
        return group


def _within(width: int, height: int, side: int) -> tuple[int, int]:
    """Return the size of a picture whose longer side is ``side``, rounded up."""
    longer = max(width, height)
    return (
        (width, height)
        if longer <= side
        else (
            -(-width * side // longer),
            -(-height * side // longer),
        )
    )

"""What became of a data set since its cache was made, and the least that has to be done.

An image is known by its id and its content (SHA-256). New images and images whose content changed
are extracted; an image that has another name, or is back after it was gone, keeps its features;
one that the data set no longer lists is marked as gone. Nothing that is on the disk is written
again: what became of old images stands in the records of new shards (``storage/changes.py``).
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featcache.datasets.base import safe_relative
from featcache.datasets.columns import images_of
from featcache.errors import DatasetError
from featcache.images.digest import digest_file
from featcache.storage.changes import Change
from featcache.storage.tables import GONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from featcache.datasets.base import ImageRecord

READERS = 16  # files that are read at once: enough for disks and servers far away
BLOCK = 4096  # files that are waiting to be read
MISSING = ""  # in place of a digest: there is no such file


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a data set differs from its cache, and what follows from it.

    Attributes:
        images: Images to extract, in the order of the data set.
        changes: What became of images that the shards hold, in their order.
        new: Images that the cache does not know.
        gone: Images that the data set no longer has.
        moved: Images with another name or place.
        changed: Images with another content under the same name.
        back: Images that were gone before; the shards still hold their features.
        again: Images that failed, and whose content was not recorded then.
        unreadable: Images whose file cannot be read now; their features are kept.
    """

    images: Sequence[ImageRecord] = ()
    changes: Sequence[Change] = ()
    new: int = 0
    gone: int = 0
    moved: int = 0
    changed: int = 0
    back: int = 0
    again: int = 0
    unreadable: int = 0

    @property
    def nothing(self) -> bool:
        """Whether the cache is what the data set is."""
        return not self.images and not self.changes

    def __str__(self) -> str:
        """Return the plan in one line: ``12 new, 3 gone, 40 moved, 1 changed``."""
        always = {"new": self.new, "gone": self.gone, "moved": self.moved, "changed": self.changed}
        rare = {
            "back": self.back,
            "tried again": self.again,
            "unreadable now (their features are kept)": self.unreadable,
        }
        shown = always | {what: number for what, number in rare.items() if number}
        return ", ".join(f"{number:,} {what}" for what, number in shown.items())


def digest_images(
    root: Path,
    images: Sequence[ImageRecord],
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> list[str | None]:
    """Read all files; returns the SHA-256 of each.

    Where there is no such file, it is `MISSING`; where it cannot be read today, None.

    Args:
        root: The data set's folder.
        images: Its images.
        on_progress: Called with the number of files read so far, and in all.
    """

    def read(image: ImageRecord) -> str | None:
        try:
            path = safe_relative(root, image.path)
            path.stat()
        except (FileNotFoundError, NotADirectoryError, DatasetError):
            return MISSING
        except OSError:
            return None
        found = digest_file(path)
        return found.sha256 if found else None

    digests = []
    with ThreadPoolExecutor(READERS, "compare") as pool:
        for start in range(0, len(images), BLOCK):
            for digest in pool.map(read, images[start : start + BLOCK]):
                digests.append(digest)
                on_progress(len(digests), len(images))
    return digests


def plan_growth(
    samples: pa.Table,
    images: Sequence[ImageRecord],
    digests: Sequence[str | None],
    listed: Sequence[str] = (),
) -> Growth:
    """Compare a data set with what the shards of its cache hold.

    Args:
        samples: The samples table that the shards give, images that are gone included.
        images: Of the data set, in its order.
        digests: Of each, as `digest_images` gives them. An image that is listed without a file, and
            had features, is gone, and is recorded as a failure, as a first extraction does.
        listed: Ids of images that the data set has beside those: they are not gone.
    """
    then = _Then(samples)
    table = images_of(images)
    ids, paths = table["sample_id"], table["path"]
    now = pa.array([digest or None for digest in digests], pa.string())
    missing = np.array([digest == MISSING for digest in digests], bool)
    line = then.find(ids)  # int64 [images], -1: not in the cache
    known = line >= 0
    before = then.column("sha256", line)
    readable = _booleans(now.is_valid())
    had = _booleans(pc.equal(then.column("status", line), pa.scalar("ok")))
    same = known & (_booleans(pc.equal(before, now)) | (~readable & ~(missing & had)))
    renamed = same & ~_booleans(pc.equal(then.column("path", line), paths))

    places = np.flatnonzero(renamed).tolist()
    tally = _Tally(changes=[then.move(line[n], images[n]) for n in places])
    tally.moved += len(tally.changes)
    left = then.live.copy()  # lines that no image has claimed
    left[line[same]] = False
    features = then.sources(left)
    recorded = _booleans(before.is_valid())
    for n in np.flatnonzero(~same).tolist():
        image, content = images[n], digests[n]
        source = features(content) if content else None
        if source is not None:
            tally.changes.append(then.move(source, image))
            tally.moved += bool(then.live[source])
            tally.back += not then.live[source]
            left[source] = False
            continue
        tally.images.append(image)
        tally.new += not known[n]
        tally.gone += bool(missing[n] and had[n])
        tally.changed += bool(known[n] and recorded[n] and not missing[n])
        tally.again += bool(known[n] and not recorded[n])
    replaced = set(line[known].tolist())
    kept = set(listed)
    for lost in np.flatnonzero(left).tolist():
        if lost not in replaced:
            if kept and then.sample_id(lost) in kept:
                continue
            tally.gone += 1
        tally.changes.append(then.remove(lost))
    return Growth(
        images=tuple(tally.images),
        changes=tuple(sorted(tally.changes, key=lambda change: change.place)),
        new=tally.new,
        gone=tally.gone,
        moved=tally.moved,
        changed=tally.changed,
        back=tally.back,
        again=tally.again,
        unreadable=int((had & ~readable & ~missing).sum()),
    )


def _booleans(values: Any) -> NDArray[np.bool_]:
    """Return an array of arrow as bool [n]; a null is no."""
    found: Any = pc.fill_null(values, pa.scalar(False))
    return np.asarray(found, bool)


@dataclass(kw_only=True)
class _Tally:
    """A growth while it is counted."""

    images: list[ImageRecord] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    new: int = 0
    gone: int = 0
    moved: int = 0
    changed: int = 0
    back: int = 0
    again: int = 0


class _Then:
    """The images that the shards hold: the lines of the samples table.

    Attributes:
        live: bool [lines], whether an image is there, with or without features.
        ok: bool [lines], whether it is there and has features.
    """

    def __init__(self, samples: pa.Table) -> None:
        self._samples = samples
        status: Any = samples["status"]
        self.live: NDArray[np.bool_] = ~_booleans(pc.equal(status, pa.scalar(GONE)))
        self.ok = _booleans(pc.equal(status, pa.scalar("ok")))
        self._stored = _booleans(samples["row"].is_valid())  # with features, live or gone
        self._shards = np.asarray(samples["shard"], np.int64)

    def find(self, ids: pa.ChunkedArray[Any]) -> NDArray[np.int64]:
        """Return the line of each id; -1 where no image that is there has it."""
        lines = np.append(np.flatnonzero(self.live), -1)  # behind the last one: not there
        known: Any = self._samples["sample_id"].filter(pa.array(self.live))
        places: Any = pc.index_in(ids, value_set=known)
        places = pc.fill_null(places, pa.scalar(-1, pa.int32()))
        found: NDArray[np.int64] = lines[places.to_numpy()]
        return found

    def column(self, name: str, lines: NDArray[np.int64]) -> Any:
        """Return a column at some lines; null where the line is -1."""
        places: Any = pa.array(lines, pa.int64(), mask=lines < 0)
        return self._samples[name].take(places)

    def sample_id(self, line: int) -> str:
        """Return the id of an image."""
        return str(self._samples["sample_id"][line])

    def sources(self, left: NDArray[np.bool_]) -> Callable[[str], int | None]:
        """Return a function: a line that has features of a content, each line once.

        Lines whose image is there come first, then those that were gone.
        """
        lines = [*np.flatnonzero(left & self.ok), *np.flatnonzero(self._stored & ~self.live)]
        contents = self.column("sha256", np.array(lines, np.int64))
        found: dict[str, deque[int]] = {}
        for line, content in zip(lines, contents.to_pylist(), strict=True):
            found.setdefault(content, deque()).append(int(line))

        def take(content: str) -> int | None:
            there = found.get(content)
            return there.popleft() if there else None

        return take

    def move(self, line: int, image: ImageRecord) -> Change:
        """Say that an image has another name, or is back."""
        return self._change(line)(sample_id=image.sample_id, path=image.path)

    def remove(self, line: int) -> Change:
        """Say that an image is gone."""
        return self._change(line)()

    def _change(self, line: int) -> Callable[..., Change]:
        shard = int(self._shards[line])
        first = int(np.searchsorted(self._shards, shard))
        return partial(Change, shard=shard, image=int(line) - first)

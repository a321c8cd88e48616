"""What became of a data set since its cache was made, and the least that has to be done.

An image is known by its id and its content (SHA-256). New images and images whose content changed
are extracted; an image that has another name, or is back after it was gone, keeps its features;
one that the data set no longer lists is marked as gone. Nothing that is on the disk is written
again: what became of old images stands in the records of new shards (``storage/changes.py``).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featcache.datasets.base import safe_relative
from featcache.datasets.columns import ImageRecords, combined, encode, images_of
from featcache.errors import DatasetError
from featcache.images.digest import digest_file
from featcache.storage.changes import Change
from featcache.storage.tables import GONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
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
) -> pa.ChunkedArray[Any]:
    """Read all files; returns the SHA-256 of each, text [n].

    Where there is no such file, it is `MISSING`; where it cannot be read today, null.

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

    blocks = []
    with ThreadPoolExecutor(READERS, "compare") as pool:
        for start in range(0, len(images), BLOCK):
            digests = []
            for digest in pool.map(read, images[start : start + BLOCK]):
                digests.append(digest)
                on_progress(start + len(digests), len(images))
            blocks.append(pa.array(digests, pa.string()))
    return pa.chunked_array(blocks, pa.string())


def plan_growth(
    samples: pa.Table,
    images: Sequence[ImageRecord],
    digests: pa.ChunkedArray[Any],
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
    missing = _booleans(pc.equal(digests, pa.scalar(MISSING)))
    contents: Any = digests.combine_chunks()
    now = pc.replace_with_mask(contents, pa.array(missing), pa.scalar(None, pa.string()))
    readable = _booleans(now.is_valid())
    line = then.find(table["sample_id"])  # int64 [images], -1: not in the cache
    known = line >= 0
    before = then.column("sha256", line)
    recorded = _booleans(before.is_valid())
    had = _booleans(pc.equal(then.column("status", line), pa.scalar("ok")))
    same = known & (_booleans(pc.equal(before, now)) | (~readable & ~(missing & had)))
    renamed = same & ~_booleans(pc.equal(then.column("path", line), table["path"]))

    left = then.live.copy()  # lines that no image has claimed
    left[line[same]] = False
    others = np.flatnonzero(~same & readable)
    source = np.full(len(line), -1)  # lines whose features another image takes over
    source[others] = then.sources(left, now.take(others))
    taken = source >= 0
    left[source[taken]] = False
    made = ~same & ~taken
    lost = np.flatnonzero(left)
    replaced = np.isin(lost, line[known])
    kept = ~replaced & then.among(lost, listed)
    moves = np.flatnonzero(renamed | taken)
    changes = then.moves(np.where(taken, source, line)[moves], ImageRecords(table.take(moves)))
    changes += then.removals(lost[~kept])
    return Growth(
        images=ImageRecords(table.filter(pa.array(made))),
        changes=sorted(changes, key=lambda change: change.place),
        new=int((made & ~known).sum()),
        gone=int((made & missing & had).sum() + (~replaced & ~kept).sum()),
        moved=int(renamed.sum() + then.live[source[taken]].sum()),
        changed=int((made & recorded & ~missing).sum()),
        back=int((~then.live[source[taken]]).sum()),
        again=int((made & known & ~recorded).sum()),
        unreadable=int((had & ~readable & ~missing).sum()),
    )


def _booleans(values: Any) -> NDArray[np.bool_]:
    """Return an array of arrow as bool [n]; a null is no."""
    found: Any = pc.fill_null(values, pa.scalar(False))
    return np.asarray(found, bool)


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

    def among(self, lines: NDArray[np.int64], ids: Sequence[str]) -> NDArray[np.bool_]:
        """Mark the lines whose ids are among others, [n]."""
        found = pc.is_in(self.column("sample_id", lines), value_set=pa.array(ids, pa.string()))
        return _booleans(found)

    def sources(self, left: NDArray[np.bool_], contents: pa.Array[Any]) -> NDArray[np.int64]:
        """Find features for contents [n]: lines, each for one content; -1 where there are none.

        Lines whose image is there come first, then those that were gone.
        """
        lines = np.concatenate(
            [np.flatnonzero(left & self.ok), np.flatnonzero(self._stored & ~self.live)]
        )
        there: Any = pc.fill_null(self.column("sha256", lines), MISSING)
        codes, _ = encode(pa.chunked_array([*there.chunks, contents], pa.string()))
        offered, asked = codes[: len(lines)], codes[len(lines) :]
        turns = np.concatenate([_turns(offered), _turns(asked)])
        keys = combined(codes, turns)
        order = np.argsort(keys[: len(lines)])
        ordered = keys[order]
        place = np.searchsorted(ordered, keys[len(lines) :])
        found: NDArray[np.int64] = np.full(len(asked), -1)
        inside = place < len(ordered)
        inside[inside] = ordered[place[inside]] == keys[len(lines) :][inside]
        found[inside] = lines[order[place[inside]]]
        return found

    def moves(self, lines: NDArray[np.int64], images: Iterable[ImageRecord]) -> list[Change]:
        """Say of images that they have another name, or are back."""
        return [
            Change(shard=shard, image=image, sample_id=now.sample_id, path=now.path)
            for shard, image, now in zip(*self._places(lines), images, strict=True)
        ]

    def removals(self, lines: NDArray[np.int64]) -> list[Change]:
        """Say of images that they are gone."""
        pairs = zip(*self._places(lines), strict=True)
        return [Change(shard=shard, image=image) for shard, image in pairs]

    def _places(self, lines: NDArray[np.int64]) -> tuple[list[int], list[int]]:
        """Return where lines stand: their shards, and their places among the images of those."""
        shards = self._shards[lines]
        return shards.tolist(), (lines - np.searchsorted(self._shards, shards)).tolist()


def _turns(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count, for each code, how often it stands before, [n]."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    turns = np.empty(len(codes), np.int64)
    lengths = np.diff(np.append(starts, len(codes)))
    turns[order] = np.arange(len(codes)) - np.repeat(starts, lengths)
    return turns

"""Paths below a data set's folder: which are images, which are refused, and walking folders."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute

from featcache.errors import DatasetError

if TYPE_CHECKING:
    from collections.abc import Iterator

pc: Any = pyarrow.compute  # its stubs take no text for a scalar

IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("jpg", "jpeg", "jpe", "jfif", "jp2", "png", "webp", "avif", "gif", "bmp"),
        *("tif", "tiff", "ppm", "pgm", "pbm"),
    )
)

# Photos of phones and raw files of cameras, which the extra ``photos`` reads.
HEIF_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
RAW_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("dng", "cr2", "cr3", "nef", "nrw", "arw", "sr2", "orf", "raf", "rw2", "raw"),
        *("pef", "srw"),
    )
)
_DEVELOPED = frozenset((".jpg", ".jpeg", ".jpe", *HEIF_SUFFIXES))  # what cameras write beside a raw

# Pictures that nothing here can read, and what to do with them.
_OTHER_PICTURES = frozenset((".jxl", ".psd", ".svg", ".tga", ".exr", ".hdr"))

LINKS = "FEATCACHE_LINKS"  # "follow": links may lead out of a root, as hubs and git-annex make them

# Absolute paths of any system, drives, a component "..", no file name at all, and NUL: what
# `safe_relative` refuses by the text of a path alone.
UNSAFE = r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|^\.?$|\x00"


@lru_cache(maxsize=64)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def safe_relative(root: str | os.PathLike[str], path: str) -> Path:
    """Join ``root`` and ``path``, which must stay inside ``root``.

    Args:
        root: A folder. It may itself be, or lie behind, a symbolic link.
        path: POSIX path of a file below it; it need not exist.

    Returns:
        The path of the file, below ``root``.

    Raises:
        DatasetError: ``path`` is empty or absolute, contains ``..``, or leads outside ``root``
            through a symbolic link, and the user has not said that links are to be followed.
    """
    pure, windows = PurePosixPath(path), PureWindowsPath(path)
    if not pure.parts or "\0" in path:
        raise DatasetError(f"{path!r} is not a file name; expected a path relative to {root}")
    if pure.is_absolute() or windows.drive or windows.root:
        raise DatasetError(f"{path!r} is absolute; expected a path relative to {root}")
    if ".." in pure.parts or ".." in windows.parts:
        raise DatasetError(f"{path!r} contains '..'; expected a path inside {root}")
    target = Path(root) / pure
    real, inside = os.path.realpath(target), _real(os.path.abspath(root))  # noqa: PTH100
    if os.path.commonpath([real, inside]) != inside and os.environ.get(LINKS) != "follow":
        raise DatasetError(
            f"{path!r} leads to {real}, outside {root}; give the real folder, or set "
            f"{LINKS}=follow if you trust the links in it"
        )
    return target


def folders_of(paths: pa.ChunkedArray[Any]) -> set[str]:
    """Return the folders of POSIX paths, each once; that of a plain file name is ``""``."""
    out: set[str] = set()
    for chunk in paths.chunks:
        parts: Any = pc.split_pattern(chunk, "/", max_splits=1, reverse=True)
        inside = pc.equal(pc.list_value_length(parts), 2)
        folders = pc.list_element(parts, 0)
        out.update(map(str, pc.unique(pc.if_else(inside, folders, ""))))
    return out


class UnsafePathError(DatasetError):
    """A path of a column that leads out of the data set's folder.

    Attributes:
        row: Its place in the column.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


def checked_paths(root: Path, paths: pa.ChunkedArray[Any]) -> pa.ChunkedArray[Any]:
    """Return paths [n] below the root as POSIX paths, as they are written on the disk.

    What `safe_relative` refuses is refused, with few system calls: the text is looked at by
    column, and links are resolved once for each folder. A file that is itself a link is looked at
    when it is opened, by `safe_relative`.

    Raises:
        UnsafePathError: A path leads out of the root.
    """
    if pc.any(bad := pc.match_substring_regex(paths, UNSAFE)).as_py():
        _refuse(root, paths, bad)
    if pc.any(windows := pc.match_substring(paths, "\\")).as_py():
        first = paths[pc.index(windows, pa.scalar(True)).as_py()]
        if not (root / str(first)).exists():  # a file may have a backslash in its name
            paths = pc.replace_substring(paths, "\\", "/")
    if pc.any(pc.match_substring_regex(paths, r"//|(^|/)\.(/|$)|/$")).as_py():
        paths = pc.replace_substring_regex(paths, "/{2,}", "/")
        paths = pc.replace_substring_regex(paths, r"(^|/)(?:\./)+", r"\1")
        paths = pc.replace_substring_regex(paths, r"/\.?$", "")
        if pc.any(bad := pc.match_substring_regex(paths, UNSAFE)).as_py():
            _refuse(root, paths, bad)
    for folder in folders_of(paths) - {""}:
        try:
            safe_relative(root, folder)
        except DatasetError as error:
            inside = pc.starts_with(paths, f"{folder}/")
            raise UnsafePathError(pc.index(inside, pa.scalar(True)).as_py(), str(error)) from error
    if not pc.all(ascii_only := pc.string_is_ascii(paths), min_count=0).as_py():
        names = NamesOnDisk(root)
        found = [names.find(str(path)) for path in paths.filter(pc.invert(ascii_only))]
        mask, new = pc.invert(ascii_only).combine_chunks(), pa.array(found, pa.string())
        paths = pa.chunked_array([pc.replace_with_mask(paths.combine_chunks(), mask, new)])
    return paths


def _refuse(root: Path, paths: pa.ChunkedArray[Any], bad: pa.ChunkedArray[Any]) -> None:
    """Say what is bad about the first bad path."""
    row = pc.index(bad, pa.scalar(True)).as_py()
    try:
        safe_relative(root, str(paths[row]))
    except DatasetError as error:
        raise UnsafePathError(row, str(error)) from error
    raise UnsafePathError(row, f"{paths[row].as_py()!r} is not a path below {root}")


def composed(text: str) -> str:
    """Return a text in Unicode's composed form (NFC), by which names are compared."""
    return unicodedata.normalize("NFC", text)


@cache
def readable_suffixes() -> frozenset[str]:
    """Return the suffixes of images that can be read here, with the extras that are installed."""
    more = {"pillow_heif": HEIF_SUFFIXES, "rawpy": RAW_SUFFIXES}
    found = (suffixes for name, suffixes in more.items() if find_spec(name) is not None)
    return IMAGE_SUFFIXES.union(*found)


def is_image(name: str) -> bool:
    """Tell whether a file name is that of an image: not hidden, and with a known suffix."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in readable_suffixes()  # noqa: PTH122


def without_raw_twins(paths: list[str], skipped: Skipped) -> list[str]:
    """Leave out raw files beside which their developed photo stands: one stem, one photo."""
    parts = [os.path.splitext(path) for path in paths]  # noqa: PTH122
    developed = {stem for stem, suffix in parts if suffix.lower() in _DEVELOPED}
    twins = {
        stem + suffix
        for stem, suffix in parts
        if suffix.lower() in RAW_SUFFIXES and stem in developed
    }
    skipped.twins += len(twins)
    return [path for path in paths if path not in twins]


class RawTwins:
    """The raw files beside developed photos; each folder is listed once."""

    def __init__(self) -> None:
        self._by_stem: dict[Path, dict[str, list[str]]] = {}

    def of(self, photo: Path) -> list[str]:
        """Return the names of the raw files that have a developed photo's stem, in order."""
        if photo.suffix.lower() not in _DEVELOPED:
            return []
        if photo.parent not in self._by_stem:
            found = self._by_stem[photo.parent] = {}
            for name in sorted(os.listdir(photo.parent)):  # noqa: PTH208
                stem, suffix = os.path.splitext(name)  # noqa: PTH122
                if suffix.lower() in RAW_SUFFIXES:
                    found.setdefault(stem, []).append(name)
        return self._by_stem[photo.parent].get(photo.stem, [])


def is_hidden(path: PurePath) -> bool:
    """Tell whether a part of a relative path is hidden, or the copy of one that macOS packs."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def is_file(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is, or leads to, a file; a link to itself leads to nothing."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _no_file(entry: os.DirEntry[str]) -> str:
    """Say what an entry is that is neither a file nor a folder."""
    try:
        if entry.is_dir():
            return "links to folders"
        return "broken links" if entry.is_symlink() else "pipes and devices"
    except OSError:
        return "broken links"


@dataclass(kw_only=True)
class Skipped:
    """What a walk through folders has passed over.

    Attributes:
        kinds: Kind of file, e.g. ``.heic`` or ``hidden``, to its number.
        unread: Folders that could not be read, with the reason.
        twins: Raw files that stand beside their JPEG, and are one photo with it.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    twins: int = 0

    def file(self, name: str) -> None:
        """Count a file that is no image by its name."""
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
        self.kinds["hidden" if name.startswith(".") else suffix or "without a suffix"] += 1

    def lines(self) -> list[str]:
        """Say it in words; nothing where nothing was skipped."""
        out = [f"a folder could not be read: {folder}" for folder in self.unread[:5]]
        if len(self.unread) > 5:
            out.append(f"{len(self.unread) - 5:,} more folders could not be read")
        pictures = {k: n for k, n in self.kinds.most_common() if k in _OTHER_PICTURES}
        if pictures:
            out.append(
                f"skipped pictures that cannot be read here: {_counts(pictures)}; "
                "save them as JPEG or PNG"
            )
        needed = {k: n for k, n in self.kinds.most_common() if k in HEIF_SUFFIXES | RAW_SUFFIXES}
        if needed:
            out.append(
                f"skipped pictures that need one more package: {_counts(needed)}; "
                "pip install 'featcache[photos]'"
            )
        if self.twins:
            out.append(
                f"{self.twins:,} raw files stand beside a JPEG of the same name and are one photo "
                "with it; --pairs separate keeps them apart"
            )
        if others := {k: n for k, n in self.kinds.most_common() if k not in pictures | needed}:
            out.append(f"skipped, as they are not images: {_counts(others)}")
        return out


def _counts(kinds: dict[str, int], most: int = 8) -> str:
    shown = [f"{count:,} {kind}" for kind, count in list(kinds.items())[:most]]
    return ", ".join(shown) + (f" and {len(kinds) - most} more kinds" if len(kinds) > most else "")


def walk_images(root: Path, skipped: Skipped | None = None) -> Iterator[str]:
    """Yield the POSIX paths, relative to ``root``, of all images below a folder, unsorted.

    Hidden files and folders are skipped; links to folders are not followed, and links that lead
    nowhere are no images.

    Args:
        root: The folder.
        skipped: Counts what is passed over.

    Raises:
        DatasetError: A path is not valid UTF-8, as the cache's tables are.
    """
    skipped = skipped if skipped is not None else Skipped()
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as listing:
                entries = list(listing)
        except OSError as error:
            skipped.unread.append(f"{root / folder}: {error.strerror}")
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if is_hidden(PurePath(entry.name)):
                    skipped.kinds["hidden folders"] += 1
                else:
                    pending.append(path)
            elif not is_file(entry):
                skipped.kinds[_no_file(entry)] += 1
            elif not is_image(entry.name):
                skipped.file(entry.name)
            elif re.search("[\ud800-\udfff]", path):
                raise DatasetError(
                    f"{root}: the name {os.fsencode(path)!r} is not UTF-8; rename the file"
                )
            else:
                yield path


class NamesOnDisk:
    """The names in folders, whichever of Unicode's forms a table writes them in.

    macOS hands out decomposed names (NFD), most other systems composed ones (NFC): the same table
    and the same photos do not meet when they have moved between the two.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[str, dict[str, str]] = {}

    def find(self, path: str) -> str:
        """Return the path as it is written on the disk; unchanged where nothing is there."""
        folder = ""
        for part in PurePosixPath(path).parts:
            names = self._listed(folder)
            name = names.get(part) or names.get(composed(part)) or part
            folder = f"{folder}/{name}" if folder else name
        return folder

    def _listed(self, folder: str) -> dict[str, str]:
        """Map the names in a folder, and their composed forms, to the names."""
        if folder not in self._names:
            try:
                names = os.listdir(self.root / folder)  # noqa: PTH208
            except OSError:  # the image is missing, which its extraction says
                names = []
            forms = {composed(name): name for name in names}
            self._names[folder] = forms | {name: name for name in names}
        return self._names[folder]

"""When a photo was taken: what EXIF says, or else when its file was last changed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from PIL import Image

from featcache.errors import ImageError
from featcache.images import heif
from featcache.images.decode import DAMAGE

if TYPE_CHECKING:
    from pathlib import Path

_MORE, _CHANGED, _TAKEN, _OFFSET = 0x8769, 0x0132, 0x9003, 0x9011  # EXIF 2.32, 4.6.3 to 4.6.5
_HEAD = 1 << 18  # bytes of a raw file in which its first pages' tags stand


def time_taken(path: Path) -> float:
    """Return seconds since 1970; a time without an offset is one of this machine's zone.

    Raises:
        OSError: The file is not there.
    """
    changed = path.stat().st_mtime
    try:
        tags = _tags(path)
        more = tags.get_ifd(_MORE)
        text = str(more.get(_TAKEN) or tags.get(_CHANGED) or "")[:19]
        offset = str(more.get(_OFFSET) or "")
        # Years before 1900 are clocks that were never set.
        stamp = datetime.strptime(f"{text}{offset}", f"%Y:%m:%d %H:%M:%S{'%z' if offset else ''}")  # noqa: DTZ007
        return stamp.timestamp() if stamp.year >= 1900 else changed
    except (*DAMAGE, ImageError):
        return changed


def _tags(path: Path) -> Any:
    """Return the EXIF tags of a photo; nothing is decoded."""
    with path.open("rb") as file:
        start = file.read(16)
        if start[:4] in (b"II*\0", b"MM\0*"):  # TIFF, and most raw files
            tags = Image.Exif()
            file.seek(0)
            tags.load(b"Exif\0\0" + file.read(_HEAD))
            return tags
        file.seek(0)
        opened = heif.reader()(file, "") if heif.is_heif(start) else Image.open(file)
        with opened as image:
            return image.getexif()

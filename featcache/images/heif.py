"""HEIC and HEIF, the photos of phones, through pillow-heif (the extra ``photos``).

Its reader is called as it is: it is not registered with Pillow, which a program that uses this
package may do or not. It makes images upright by itself, and leaves no orientation behind.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from featcache.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

HOW = "pip install 'featcache[photos]'"

# Brands of the file type box (ISO 14496-12, 4.3; HEIF is ISO 23008-12): what is coded by HEVC.
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def is_heif(start: bytes) -> bool:
    """Tell by its first 16 bytes whether a file is HEIF; AVIF is another format."""
    return start[4:8] == b"ftyp" and start[8:12] in _BRANDS


@cache
def reader() -> Callable[..., Any]:
    """Return what opens a HEIF file as an image of Pillow.

    Raises:
        ImageError: pillow-heif is not installed.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise ImageError(f"HEIC and HEIF need pillow-heif: {HOW}") from error
    found: Callable[..., Any] = HeifImageFile
    return found

"""PNG without its texts and color profiles, which are not pixels and may be of any size.

Pillow refuses a whole file whose comment or profile unpacks to more than a megabyte, though
generated images carry such comments and cameras such profiles. Nothing here reads them, so they
are cut out before Pillow sees the file, without being unpacked: a megabyte that unpacks to
gigabytes costs nothing. Of the texts, two can hold the orientation and stay, where they are small.

The layout of chunks: PNG specification (W3C, third edition), sections 5.3, 11.3.3 and 11.3.4.
"""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_CUT = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_ORIENTING = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # keywords of texts
_MOST_TEXT = 1 << 20  # bytes, unpacked: Pillow's own limit for a chunk


def without_texts(data: bytes) -> bytes:
    """Return a PNG without comments and color profiles; the pixels' bytes are untouched.

    Args:
        data: A file's content. It may be damaged or cut off: what is no chunk stays as it is.
    """
    kept: list[memoryview] = []
    view = memoryview(data)
    start = place = len(SIGNATURE)  # of what is kept next; of the chunk in turn
    seen: set[bytes] = set()
    kept.append(view[:start])
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            break
        if kind in _CUT and not _orients(data[place + 8 : end - 4], kind, seen):
            kept.append(view[start:place])
            start = end
        place = end
    return b"".join([*kept, view[start:]]) if len(kept) > 1 else data


def profile(data: bytes, most: int) -> bytes | None:
    """Return the color profile of a PNG, unpacked; None for none, or one of over ``most`` bytes."""
    place = len(SIGNATURE)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"iCCP":
            packed = data[place + 8 : place + 8 + length].partition(b"\0")[2][1:]
            try:
                unpacked = zlib.decompressobj().decompress(packed, most + 1)
            except zlib.error:
                return None
            return unpacked if len(unpacked) <= most else None
        if kind in (b"IDAT", b"IEND"):  # profiles stand before the pixels
            return None
        place += 12 + length
    return None


def _orients(content: bytes, kind: bytes, seen: set[bytes]) -> bool:
    """Whether a text is the first of its keyword that may hold the orientation, and is small."""
    keyword, _, rest = content[:80].partition(b"\0")
    if kind == b"iCCP" or keyword not in _ORIENTING or keyword in seen:
        return False
    rest = content[len(keyword) + 1 :]
    if kind == b"zTXt":
        packed = rest[1:]
    elif kind == b"iTXt" and rest[:1] == b"\1":
        packed = rest[2:].split(b"\0", 2)[-1]
    else:
        packed = b""
    try:
        unpacked = zlib.decompressobj().decompress(packed, _MOST_TEXT + 1) if packed else rest
    except zlib.error:
        return False
    seen.add(keyword)
    return len(unpacked) <= _MOST_TEXT

"""XMP inside a JPEG file: its segment replaced or added, all other bytes as they were."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from PIL import Image

from adapter.takeaway.xmp import Marks, XmpError, merge

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
APP0, APP1, SCAN = 0xE0, 0xE1, 0xDA
LARGEST = 65_533  # bytes of a segment's content


def embed(photo: bytes, marks: Marks) -> bytes:
    """Put marks into the XMP of a JPEG file.

    Every segment but the one of XMP, and all of the compressed pixels, keep their bytes; the
    decoded pixels are compared before the result is returned.

    Raises:
        XmpError: It is no JPEG file, or its XMP does not fit into one segment.
    """
    segments = list(_segments(photo))
    if any(photo[a:b].startswith(EXTENDED, 4) for _, a, b in segments):
        raise XmpError("its XMP is longer than a segment; use a sidecar for this photo")
    found = [
        (a, b)
        for marker, a, b in segments
        if marker == APP1 and photo[a + 4 : b].startswith(HEADER)
    ]
    if len(found) > 1:
        raise XmpError("it holds XMP twice; use a sidecar for this photo")
    if found:
        start, end = found[0]
        packet = merge(photo[start + 4 + len(HEADER) : end], marks)
    else:
        # Behind the file's own headers (JFIF, Exif), as the specification asks.
        start = end = 2
        for marker, _, stop in segments:
            if marker not in (APP0, APP1):
                break
            start = end = stop
        packet = merge(None, marks)
    content = HEADER + packet
    if len(content) > LARGEST:
        raise XmpError("its XMP would not fit into a segment; use a sidecar for this photo")
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    changed = photo[:start] + segment + photo[end:]
    if _pixels(changed) != _pixels(photo):
        raise XmpError("writing XMP would change its pixels; use a sidecar for this photo")
    return changed


def _segments(photo: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the segments before the compressed pixels."""
    if not photo.startswith(b"\xff\xd8"):
        raise XmpError("not a JPEG file; only those hold XMP, use a sidecar")
    at = 2
    while True:
        if len(photo) < at + 4 or photo[at] != 0xFF:
            raise XmpError("its segments cannot be read; the file is damaged")
        marker, length = photo[at + 1], struct.unpack(">H", photo[at + 2 : at + 4])[0]
        if marker == SCAN:
            return
        if marker == 0xFF:  # filling
            at += 1
            continue
        if length < 2 or at + 2 + length > len(photo):
            raise XmpError("a segment does not end; the file is damaged")
        yield marker, at, at + 2 + length
        at += 2 + length


def _pixels(photo: bytes) -> tuple[str, tuple[int, int], bytes]:
    try:
        with Image.open(io.BytesIO(photo), formats=("JPEG",)) as image:
            return image.mode, image.size, image.tobytes()
    except OSError as error:
        raise XmpError(f"its pixels cannot be decoded: {error}") from error

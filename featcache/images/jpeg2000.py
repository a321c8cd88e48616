"""Which JPEG 2000 files are read: those whose samples Pillow scales to 8 bits as they are meant.

It does so for 8 bits, and for gray of 8 to 16 bits. Color of more bits it reads with white turned
black, fewer than 8 bits too dark, and more than 16 black, in silence.

The layout of the size marker: ISO/IEC 15444-1, A.5.1.
"""

from __future__ import annotations

import struct

from featcache.errors import ImageError

_SIZE_MARKER = b"\xff\x4f\xff\x51"  # start of the codestream, and the marker that follows it


def require_depth(data: bytes) -> None:
    """Refuse a depth that is not read as it is meant; a file without a size marker passes."""
    start = data.find(_SIZE_MARKER)
    if start < 0:
        return
    try:
        (components,) = struct.unpack_from(">H", data, start + 40)
    except struct.error:
        return
    for place in range(start + 42, min(start + 42 + 3 * components, len(data)), 3):
        signed, bits = data[place] >> 7, (data[place] & 0x7F) + 1
        if signed or bits < 8 or bits > (16 if components < 3 else 8):
            raise ImageError(
                f"JPEG 2000 of {components} x {bits} {'signed ' if signed else ''}bits; "
                "convert to 8 bits a channel"
            )

"""TIFF is many formats in one: which of them are read, and where Pillow needs help.

Pillow reads the common forms right. Some it reads as if they were others, in silence: 16-bit gray
whose zero is white comes out inverted, 12-bit gray too dark, signed and 32-bit integers black, and
16-bit planes that are stored apart as bytes. So the tags of the first page are read before Pillow
reads the file. A form whose pixels have no agreed meaning is refused with its reason; for the
others, the bytes of two tags are changed, or the tiles of the opened image, until it reads right.

Tags, types and defaults: TIFF 6.0 (Adobe, 1992), sections 2 to 8 and 19 to 21. The test of this
module compares every form with tifffile's reading.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from featcache.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import ImageFile

_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 258, 259, 262
_SAMPLES, _PLANAR, _FORMAT, _SUBSAMPLING = 277, 284, 339, 530

_PAGES_BELOW, _DNG_VERSION = 330, 50706

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK, _YCBCR, _LAB = 0, 1, 2, 5, 6, 8
_SENSOR = (32803, 34892)  # color filter array (TIFF/EP), linear raw (DNG)
_INTERLEAVED, _APART = 1, 2  # planar configurations
_UNCOMPRESSED = 1
_PREVIEW, _MASK = 1, 4  # bits of the subfile type

_SAMPLE_KINDS = {2: "signed integer", 3: "floating point", 5: "complex", 6: "complex"}

_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # types of whole numbers, as letters of struct
_MOST_VALUES = 64  # of a tag; these tags have one for each channel, or one or two in all


@dataclass(frozen=True, kw_only=True)
class Levels:
    """What the values of gray pixels deeper than 8 bits mean.

    Attributes:
        top: The value of white, or of black where ``inverted``.
        inverted: Whether zero is white.
    """

    top: int = 65535
    inverted: bool = False


class _Tag(NamedTuple):
    """The values of a tag, and where and how the first of them is stored."""

    values: tuple[int, ...]
    place: int
    code: str


class Page:
    """The tags of a TIFF's first page.

    Attributes:
        bits: Of a sample.
        levels: What its values mean, where they are gray.
    """

    def __init__(self, data: bytes) -> None:
        """Read the tags; raises ImageError where there is no such page."""
        try:
            order = {b"II": "<", b"MM": ">"}[data[:2]]
            self._tags = dict(_tags(data, order))
        except (KeyError, struct.error) as error:
            raise ImageError("the TIFF header cannot be read: no page of tags") from error
        self._data = data
        self._order = order
        self.bits = self._first(_BITS, 1)
        self._photometric = self._first(_PHOTOMETRIC, -1)
        self._inverted = self._photometric == _WHITE_IS_ZERO and self.bits > 8
        self._raw = self._first(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED
        self._apart = self._first(_PLANAR, _INTERLEAVED) == _APART
        top = (1 << self.bits) - 1 if 8 < self.bits < 16 else 65535
        self.levels = Levels(top=top, inverted=self._inverted)

    def __str__(self) -> str:
        """Name the form, for messages."""
        order = "little" if self._order == "<" else "big"
        packed = "" if self._raw else f", compression {self._first(_COMPRESSION, _UNCOMPRESSED)}"
        return (
            f"TIFF of {self._first(_SAMPLES, 1)} x {self.bits} bits, photometric "
            f"{self._photometric}, {order} endian{packed}"
        )

    def require_meaning(self) -> None:
        """Refuse pixels without an agreed meaning, and those that Pillow cannot be helped with."""
        kinds = set(self._values(_FORMAT, (1,)))
        if found := sorted(kinds & _SAMPLE_KINDS.keys()):
            raise ImageError(
                f"TIFF of {_SAMPLE_KINDS[found[0]]} pixels, which have no agreed range; "
                "convert to 8 or 16 bits"
            )
        if max(self._values(_BITS, (1,))) > 16:
            raise ImageError(
                f"TIFF of {self.bits}-bit integer pixels, which have no agreed range; "
                "convert to 8 or 16 bits"
            )
        if self._photometric == _LAB:
            raise ImageError("TIFF of Lab pixels; convert to RGB")
        if self._photometric < 0 and self._first(_SAMPLES, 1) == 1:
            raise ImageError("TIFF that does not say whether zero is black or white")
        kind = self._first(_SUBFILE, 0)
        if kind & (_PREVIEW | _MASK):
            what = "a small preview" if kind & _PREVIEW else "a mask"
            raise ImageError(f"TIFF whose first page is {what}, not the picture")
        sampling = set(self._values(_SUBSAMPLING, (2, 2)))
        if self._raw and self._photometric == _YCBCR and sampling != {1}:
            raise ImageError("TIFF of YCbCr pixels with fewer colors, uncompressed")
        if self._raw and self._apart and self.bits == 16 and self._photometric == _CMYK:
            raise ImageError("TIFF of 16-bit CMYK planes; store the channels interleaved")

    def readable(self) -> bytes:
        """Return the file with the tags that Pillow reads right.

        Gray deeper than 8 bits is read as black is zero, whatever it is (``levels`` says it). A
        single plane counts as interleaved, as Pillow would read each sample of a plane as a byte.
        """
        changes = {}
        if self._inverted:
            changes[_PHOTOMETRIC] = _BLACK_IS_ZERO
        if self._apart and self._first(_SAMPLES, 1) == 1:
            changes[_PLANAR] = _INTERLEAVED
        if not changes:
            return self._data
        changed = bytearray(self._data)
        for tag, value in changes.items():
            _, place, code = self._tags[tag]
            struct.pack_into(self._order + code, changed, place, value)
        return bytes(changed)

    def mend_tiles(self, image: ImageFile.ImageFile) -> None:
        """Say that 16-bit planes of RGB, uncompressed, are not planes of bytes."""
        if self._raw and self._apart and self.bits == 16 and self._photometric == _RGB:
            order = "L" if self._order == "<" else "B"
            image.tile = [
                tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:]))
                for tile in image.tile
                if isinstance(tile.args, tuple)
            ]

    def _first(self, tag: int, default: int) -> int:
        return self._values(tag, (default,))[0]

    def _values(self, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        return self._tags[tag].values if tag in self._tags else default


def holds_sensor_values(data: bytes) -> bool:
    """Tell whether a TIFF is a camera's raw file: a DNG, a CR2, or with a page of sensor values.

    Sources: TIFF/EP (ISO 12234-2), DNG 1.7 (Adobe, 2023). The first page of such a file is mostly
    a small preview, and the sensor's page stands below it.
    """
    order = "<" if data[:2] == b"II" else ">"
    try:
        first = dict(_tags(data, order))
        pages = first[_PAGES_BELOW].values if _PAGES_BELOW in first else ()
        below = [dict(_tags(data, order, place)) for place in pages]
    except struct.error:
        return False
    if data[8:10] == b"CR" or _DNG_VERSION in first:
        return True
    kinds = [page[_PHOTOMETRIC].values[0] for page in (first, *below) if _PHOTOMETRIC in page]
    return any(kind in _SENSOR for kind in kinds)


def _tags(data: bytes, order: str, start: int | None = None) -> Iterator[tuple[int, _Tag]]:
    """Yield the whole numbers among a page's tags, of classic TIFF and BigTIFF.

    Args:
        data: The file.
        order: ``<`` or ``>``, as for struct.
        start: Where the page begins; the first page's when left out.

    Raises:
        struct.error: The file ends before the tags do.
    """
    big = data[2:4] in (b"+\0", b"\0+")
    # The letters for an offset and for the number of tags, bytes of a tag, and of its value.
    offset, number, size, room = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
    if start is None:
        (start,) = struct.unpack_from(order + offset, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + number, data, start)
    start += struct.calcsize(number)
    for entry in range(start, min(start + size * count, len(data)), size):
        tag, kind, length = struct.unpack_from(f"{order}HH{offset}", data, entry)
        code = _TYPES.get(kind)
        if code is None or not 0 < length <= _MOST_VALUES:
            continue
        place = entry + size - room
        if length * struct.calcsize(code) > room:
            (place,) = struct.unpack_from(order + offset, data, place)
        yield tag, _Tag(struct.unpack_from(f"{order}{length}{code}", data, place), place, code)

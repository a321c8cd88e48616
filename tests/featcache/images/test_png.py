"""PNG of every depth and color type, and with texts and profiles of any size."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from featcache.images.decode import decode
from featcache.images.png import SIGNATURE, without_texts

if TYPE_CHECKING:
    from collections.abc import Iterable

HEIGHT, WIDTH = 24, 41  # an odd width: rows of 1, 2 and 4 bits end within a byte
MEGABYTE = 1 << 20

GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    color: int,
    bits: int,
    before: Iterable[bytes] = (),
    after: Iterable[bytes] = (),
) -> bytes:
    """A PNG whose samples take all values, with more chunks before and after its pixels."""
    channels = CHANNELS[color]
    count = HEIGHT * WIDTH * channels
    values = (np.arange(count) * (2**bits - 1) // (count - 1)).reshape(HEIGHT, WIDTH * channels)
    if bits == 16:
        rows = values.astype(">u2").view(np.uint8)
    else:
        unpacked = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        rows = np.packbits(unpacked.reshape(HEIGHT, -1), axis=-1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, color, 0, 0, 0)
    colors = np.arange(3 * 2 ** min(bits, 8), dtype=np.uint32) * 97 % 256
    return b"".join(
        [
            SIGNATURE,
            chunk(b"IHDR", header),
            chunk(b"PLTE", colors.astype(np.uint8).tobytes()) if color == PALETTE else b"",
            *before,
            chunk(b"IDAT", zlib.compress(body)),
            *after,
            chunk(b"IEND", b""),
        ]
    )


def read(data: bytes) -> np.ndarray:
    image = decode(data, orientation="exif", truncated="refuse", max_pixels=1 << 20).rgb
    return np.asarray(image)


def reference(data: bytes) -> np.ndarray:
    """As imagecodecs (libpng) reads it, as levels 0..255 of R, G, B without alpha."""
    values = imagecodecs.png_decode(data)
    levels = values / np.iinfo(values.dtype).max * 255
    levels = levels.reshape(HEIGHT, WIDTH, -1)
    return levels[..., :3] if levels.shape[-1] >= 3 else np.repeat(levels[..., :1], 3, axis=-1)


FORMS = [
    *((GRAY, bits) for bits in (1, 2, 4, 8, 16)),
    *((PALETTE, bits) for bits in (1, 2, 4, 8)),
    *((color, bits) for color in (RGB, GRAY_ALPHA, RGB_ALPHA) for bits in (8, 16)),
]


@pytest.mark.parametrize(("color", "bits"), FORMS)
def test_depths(color: int, bits: int):
    data = png(color, bits)
    # One level: of 16-bit color the high byte is kept, which is not rounded.
    np.testing.assert_allclose(read(data), reference(data), atol=bits == 16)


@pytest.mark.parametrize(("color", "bits"), [form for form in FORMS if form[0] < GRAY_ALPHA])
def test_a_transparent_color_stays_as_it_is(color: int, bits: int):
    transparent = bytes(range(2**bits)) if color == PALETTE else b"\0\1" * CHANNELS[color]
    data = png(color, bits, [chunk(b"tRNS", transparent)])
    np.testing.assert_array_equal(read(data), read(png(color, bits)))


def text(kind: bytes, size: int, keyword: bytes = b"comment") -> bytes:
    """A chunk whose text unpacks to ``size`` bytes."""
    content = b"a" * size
    packed = zlib.compress(content)
    return {
        b"tEXt": chunk(b"tEXt", keyword + b"\0" + content),
        b"zTXt": chunk(b"zTXt", keyword + b"\0\0" + packed),
        b"iTXt": chunk(b"iTXt", keyword + b"\0\1\0en\0\0" + packed),
        b"iCCP": chunk(b"iCCP", keyword + b"\0\0" + packed),
    }[kind]


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"iCCP"])
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("keyword", [b"comment", b"XML:com.adobe.xmp", b"Raw profile type exif"])
def test_a_large_text_or_profile_is_no_damage(kind: bytes, place: str, keyword: bytes):
    data = png(RGB, 8, **{place: [text(kind, 3 * MEGABYTE, keyword)]})
    np.testing.assert_array_equal(read(data), read(png(RGB, 8)))


def test_a_bomb_is_not_unpacked():
    bomb = text(b"zTXt", 64 * MEGABYTE)
    data = png(RGB, 8, [bomb, text(b"iTXt", 64 * MEGABYTE, b"XML:com.adobe.xmp")] * 3)
    assert len(data) < MEGABYTE
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(read(data), read(png(RGB, 8)))
        assert tracemalloc.get_traced_memory()[1] < 16 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_texts_without_end():
    """Each is small, all together more than Pillow takes of a file."""
    texts = [text(b"zTXt", MEGABYTE, word) for word in (b"comment", b"XML:com.adobe.xmp")] * 50
    np.testing.assert_array_equal(read(png(RGB, 8, texts)), read(png(RGB, 8)))


@pytest.mark.parametrize(
    "broken",
    [
        chunk(b"zTXt", b"comment\0\0not packed"),
        chunk(b"iCCP", b"name\0\0not packed"),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0not packed"),
        chunk(b"tEXt", b"x" * 200)[:-1] + b"\0",  # a checksum that does not hold
    ],
)
def test_broken_texts_are_no_reason_to_refuse_whole_pixels(broken: bytes):
    np.testing.assert_array_equal(read(png(RGB, 8, [broken])), read(png(RGB, 8)))


def test_the_orientation_in_a_text_still_counts():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    chunks = {
        "iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp),
        "packed": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp)),
    }
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = b"\nexif\n" + str(len(exif.tobytes())).encode() + b"\n" + exif.tobytes().hex().encode()
    chunks["exif"] = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw))
    for name, content in chunks.items():
        data = png(RGB, 8, [text(b"zTXt", 3 * MEGABYTE), content])
        assert read(data).shape == (WIDTH, HEIGHT, 3), name


def test_a_file_without_texts_is_not_copied():
    data = png(RGB, 8)
    assert without_texts(data) is data


@pytest.mark.parametrize("end", [0, 5, 8, 12, 40, 100, -13])
def test_what_is_cut_off_stays_cut_off(end: int):
    data = png(RGB, 8, [text(b"tEXt", 20)])
    cut, whole = data[:end], without_texts(data)
    assert without_texts(cut) in (cut, whole[: len(cut) + len(whole) - len(data)])


def test_animated_and_exif_chunks_stay():
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("RGB", (40, 24), color) for color in ("red", "lime")]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], exif=exif)
    data = file.getvalue()
    with_text = data[:33] + text(b"zTXt", 3 * MEGABYTE) + data[33:]
    assert without_texts(with_text) == data
    assert read(with_text).shape == (40, 24, 3)

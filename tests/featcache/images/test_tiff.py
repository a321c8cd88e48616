"""Every form of TIFF, read as tifffile reads it, or refused with the reason."""

from __future__ import annotations

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import PIL
import pytest
import tifffile

from featcache.errors import ImageError
from featcache.images.decode import decode

PILLOW = int(PIL.__version__.split(".")[0])
HEIGHT, WIDTH = 24, 41  # an odd width: rows of 1, 2, 4 and 12 bits end within a byte


def ramp(bits: int, dtype: Any = None) -> np.ndarray:
    """All levels from 0 to the largest: [H, W]."""
    values = np.arange(HEIGHT * WIDTH).reshape(WIDTH, HEIGHT).T / (HEIGHT * WIDTH - 1)
    return (values * (2**bits - 1)).astype(dtype or (np.uint8 if bits <= 8 else np.uint16))


def colors(bits: int, channels: int = 3) -> np.ndarray:
    """Channels that differ: [H, W, channels]."""
    gray = ramp(bits)
    return np.stack([gray, gray[::-1], gray[:, ::-1], gray // 2, gray // 3][:channels], axis=-1)


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    if options.get("planarconfig") == "separate" and pixels.ndim == 3:
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    try:
        tifffile.imwrite(file, pixels, **options)
    except NotImplementedError as error:
        pytest.skip(f"imagecodecs {imagecodecs.__version__} cannot draw it: {error}")
    return file.getvalue()


def reference(data: bytes) -> np.ndarray:
    """The first page as tifffile reads it, as levels 0..255 of R, G, B: float [H, W, 3]."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        values = page.asarray().astype(float)
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and values.ndim == 3:
            values = np.moveaxis(values, 0, -1)
        values = values / (2**page.bitspersample - 1)  # to 0..1
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            values = 1 - values
        elif page.photometric == tifffile.PHOTOMETRIC.SEPARATED:
            values = (1 - values[..., :3]) * (1 - values[..., 3:])
        if values.ndim == 2 or values.shape[-1] < 3:
            values = np.repeat(values.reshape(HEIGHT, WIDTH, -1)[..., :1], 3, axis=-1)
        return 255 * values[..., :3]


def read(data: bytes) -> np.ndarray:
    image = decode(data, orientation="exif", truncated="refuse", max_pixels=1 << 20).rgb
    assert image.mode == "RGB"
    return np.asarray(image)


def assert_right(data: bytes, atol: int = 1) -> None:
    # One level: of 16-bit color the high byte is kept, which is not rounded.
    np.testing.assert_allclose(read(data), reference(data), atol=atol)


GRAY = [
    (bits, photometric, order, compression)
    for bits in (1, 2, 4, 8, 12, 16)
    for photometric in ("minisblack", "miniswhite")
    for order in "<>"
    for compression in (None, "lzw", "deflate", "packbits")
    if bits in (8, 16) or compression is None  # tifffile writes no other compressed ones
    if (bits, order) != (12, ">")  # refused, below
]


@pytest.mark.parametrize(("bits", "photometric", "order", "compression"), GRAY)
@pytest.mark.parametrize("apart", [False, True])
def test_gray(bits: int, photometric: str, order: str, compression: str | None, apart: bool):
    pixels = ramp(bits, bool if bits == 1 else None)
    options: dict[str, Any] = {"bitspersample": bits} if bits in (2, 4, 12) else {}
    if apart:  # one plane, stored apart from no others, as some programs write it
        options["extratags"] = [(284, "H", 1, 2, True)]
    data = tiff(
        pixels, photometric=photometric, byteorder=order, compression=compression, **options
    )
    assert_right(data)
    assert read(data).min() == 0
    assert read(data).max() == 255


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("alpha", [False, True])
def test_color(bits: int, order: str, compression: str | None, planes: str, alpha: bool):
    options: dict[str, Any] = {"extrasamples": ["unassalpha"]} if alpha else {}
    assert_right(
        tiff(
            colors(bits, 4 if alpha else 3),
            photometric="rgb",
            byteorder=order,
            compression=compression,
            planarconfig=planes,
            **options,
        )
    )


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk(bits: int):
    assert_right(
        tiff(colors(bits, 4), photometric="separated"), atol=3
    )  # levels of ink, of black, of rounding


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (16, 16)},
        {"tile": (16, 16), "compression": "lzw"},
        {"rowsperstrip": 5},
        {"predictor": True, "compression": "lzw"},
        {"bigtiff": True},
        {"extratags": [(339, "H", 1, 1, True)]},  # a sample format that says: unsigned
    ],
    ids=str,
)
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_layouts_of_sixteen_bits(options: dict[str, Any], photometric: str):
    assert_right(tiff(ramp(16), photometric=photometric, **options))


def test_gray_with_alpha():
    pixels = colors(8, 2)
    assert_right(tiff(pixels, photometric="minisblack", extrasamples=["unassalpha"]))


def test_a_palette():
    table = np.stack([np.arange(256), 255 - np.arange(256), np.full(256, 7)]).astype(np.uint16)
    pixels = read(tiff(ramp(8), photometric="palette", colormap=table * 257))
    np.testing.assert_array_equal(pixels, np.moveaxis(table[:, ramp(8)], 0, -1))


def test_of_pages_the_first_is_taken():
    pages = np.stack([ramp(16), ramp(16)[::-1]])
    assert_right(tiff(pages, photometric="miniswhite"))


def test_ycbcr_is_converted_or_refused():
    y, cb, cr = (c.astype(float) for c in np.moveaxis(colors(8), -1, 0))
    rgb = np.stack(  # ITU-R BT.601, as TIFF 6.0 section 21 has it
        [y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128),
         y + 1.772 * (cb - 128)], axis=-1,
    )  # fmt: skip
    for compression in (None, "lzw"):
        data = tiff(colors(8), photometric="ycbcr", compression=compression, subsampling=(1, 1))
        try:
            found = read(data)
        except ImageError:
            assert PILLOW < 13  # which cannot read it
        else:
            np.testing.assert_allclose(found, np.clip(rgb, 0, 255), atol=2)


GRAY_OPTIONS = {"photometric": "minisblack"}
REFUSED = {
    **{
        f"{kind} {order}": (ramp(6, kind), GRAY_OPTIONS | {"byteorder": order}, reason)
        for order in "<>"
        for kind, reason in {
            "int8": "signed integer",
            "int16": "signed integer",
            "int32": "signed integer",
            "uint32": "32-bit integer",
            "uint64": "64-bit integer",
            "float16": "floating point",
            "float32": "floating point",
            "float64": "floating point",
            "complex64": "complex",
        }.items()
    },
    "uint32 inverted": (ramp(6, "uint32"), {"photometric": "miniswhite"}, "32-bit integer"),
    "float 0..1": (ramp(8) / np.float32(255), GRAY_OPTIONS, "floating point"),
    "float color": (colors(8).astype("f4"), {"photometric": "rgb"}, "floating point"),
    "signed color": (colors(7).astype("i1"), {"photometric": "rgb"}, "signed integer"),
    "32-bit color": (colors(8).astype("u4"), {"photometric": "rgb"}, "32-bit integer"),
    "Lab": (colors(8), {"photometric": "cielab"}, "Lab"),
    "12 bits, big endian": (
        ramp(12), {"photometric": "minisblack", "bitspersample": 12, "byteorder": ">"},
        "1 x 12 bits, photometric 1, big endian",
    ),
    "10 bits": (ramp(10), {"photometric": "minisblack", "bitspersample": 10}, "1 x 10 bits"),
    "16 bits with alpha": (
        colors(16, 2), {"photometric": "minisblack", "extrasamples": ["unassalpha"]}, "2 x 16 bits",
    ),
    "PNG inside": (
        ramp(8), {"photometric": "minisblack", "compression": "png"},
        "compression 34933 cannot be read .*convert to RGB",
    ),
    "16-bit CMYK planes": (
        colors(16, 4), {"photometric": "separated", "planarconfig": "separate"}, "planes",
    ),
    "a preview first": (ramp(8), {"photometric": "minisblack", "subfiletype": 1}, "preview"),
    "a mask first": (ramp(1, bool), {"photometric": "minisblack", "subfiletype": 4}, "mask"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_agreed_meaning_is_refused(name: str):
    pixels, options, reason = REFUSED[name]
    with pytest.raises(ImageError, match=reason) as caught:
        read(tiff(pixels, **options))
    assert "damaged" not in str(caught.value)
    assert "\n" not in str(caught.value)


def with_tag(data: bytes, tag: int, change: bytes) -> bytes:
    """Replace the 12 bytes of a tag of a little-endian file."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, place) == (tag,):
            return data[:place] + change + data[place + 12 :]
    raise AssertionError(f"no tag {tag}")


def test_gray_that_does_not_say_which_end_is_white():
    data = with_tag(
        tiff(ramp(8), photometric="minisblack"), 262, struct.pack("<HHII", 270, 2, 1, 0)
    )
    with pytest.raises(ImageError, match="whether zero is black or white"):
        read(data)


def test_colors_at_half_resolution_that_are_not_compressed():
    data = tiff(colors(8), photometric="ycbcr")
    with pytest.raises(ImageError, match="fewer colors"):
        read(with_tag(data, 530, struct.pack("<HHIHH", 530, 3, 2, 2, 2)))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("length", [3, 4, 8, 9, 20, 60])
def test_a_header_that_ends_early(order: str, length: int):
    with pytest.raises(ImageError):
        read(tiff(ramp(8), photometric="minisblack", byteorder=order)[:length])

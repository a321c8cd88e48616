from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from featcache.errors import ImageError
from featcache.images.decode import decode
from featcache.images.preprocess import Preprocessing, read_image
from featcache.images.raw import is_raw


def read(data, orientation="exif", most=10**8):
    return decode(data, orientation=orientation, truncated="refuse", max_pixels=most)


def jpeg(width, height, color=(0, 200, 0)):
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, "JPEG")
    return file.getvalue()


def color_at(found, x, y):
    return np.array(found.rgb.getpixel((int(x * found.rgb.width), int(y * found.rgb.height))))


def test_a_raw_file_is_developed_at_half_its_size(make_dng):
    found = read(make_dng())
    assert (found.width, found.height, found.rgb.size) == (96, 64, (48, 32))
    left, right = color_at(found, 0.2, 0.5), color_at(found, 0.8, 0.5)
    assert left[0] > left[2] + 50  # red
    assert right[2] > right[0] + 50  # blue


@pytest.mark.parametrize(("orientation", "red"), [(1, (0.2, 0.5)), (3, (0.8, 0.5)),
                                                 (6, (0.5, 0.2)), (8, (0.5, 0.8))])  # fmt: skip
@pytest.mark.parametrize("preview", [False, True])
def test_it_stands_upright(make_dng, orientation, red, preview):
    camera = None
    if preview:
        file, half = io.BytesIO(), Image.new("RGB", (96, 64), (0, 0, 250))
        half.paste((250, 0, 0), (0, 0, 48, 64))
        half.save(file, "JPEG")
        camera = file.getvalue()
    found = read(make_dng(orientation=orientation, preview=camera))
    tall = orientation in (6, 8)
    assert (found.width, found.height) == ((64, 96) if tall else (96, 64))
    assert (found.rgb.width < found.rgb.height) == tall
    x, y = red
    assert color_at(found, x, y)[0] > color_at(found, 1 - x, 1 - y)[0] + 50
    stored = read(make_dng(orientation=orientation, preview=camera), "stored")
    assert stored.rgb.width > stored.rgb.height


def test_a_large_preview_is_taken_and_a_small_or_damaged_one_is_not(make_dng):
    green = color_at(read(make_dng(preview=jpeg(80, 56))), 0.5, 0.5)
    assert green[1] > green[0] + 100
    for preview in (jpeg(40, 26), jpeg(80, 56)[:-300] + bytes(300)):
        found = read(make_dng(preview=preview))
        assert found.rgb.size == (48, 32)
        assert color_at(found, 0.2, 0.5)[0] > color_at(found, 0.2, 0.5)[1]


def test_raw_files_are_told_by_their_content(make_dng):
    assert is_raw(make_dng())
    assert is_raw(make_dng(preview=jpeg(80, 56)))
    for start in (b"FUJIFILMCCD-RAW 0201", b"IIRO", b"\0\0\0\x18ftypcrx \0\0\0\1", b"IIU\0"):
        assert is_raw(start + bytes(40))
    plain = io.BytesIO()
    Image.new("RGB", (8, 8)).save(plain, "TIFF")
    for data in (
        plain.getvalue(),
        jpeg(8, 8),
        b"II*\0",
        b"MM\0*\0\0\0\x08",
        b"",
        b"II*\0\xff\xff\xff\xff",
    ):
        assert not is_raw(data)


def test_what_cannot_be_read_says_why(make_dng):
    with pytest.raises(ImageError, match=r"too large: 96 x 64 pixels"):
        read(make_dng(), most=96 * 64 - 1)
    with pytest.raises(ImageError, match="the raw file cannot be"):
        read(make_dng(cut=6000))
    with pytest.raises(ImageError, match="the raw file cannot be read"):
        read(b"FUJIFILMCCD-RAW 0201" + bytes(200))


def test_the_missing_extra_is_named(make_dng, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(ImageError, match=r"need rawpy: pip install 'featcache\[photos\]'"):
        read(make_dng())


def test_it_becomes_what_a_backbone_reads(make_dng):
    found = read_image(make_dng(orientation=6), Preprocessing(size=8, mean=(0,) * 3, std=(1,) * 3))
    assert found.pixels.shape == (3, 8, 8)
    assert (found.width, found.height) == (64, 96)
    assert found.pixels[0, 1].mean() > found.pixels[0, 6].mean() + 50

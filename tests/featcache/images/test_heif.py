from __future__ import annotations

import io
import sys

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from featcache.errors import ImageError
from featcache.images import heif
from featcache.images.decode import decode


def heic(width=96, height=64, orientation=1):
    """Left red, right blue."""
    picture = Image.new("RGB", (width, height), (0, 0, 250))
    picture.paste((250, 0, 0), (0, 0, width // 2, height))
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    pillow_heif.from_pillow(picture).save(file, quality=90, exif=exif.tobytes())
    return file.getvalue()


def read(data, most=10**8):
    return decode(data, orientation="exif", truncated="refuse", max_pixels=most)


@pytest.mark.parametrize(("orientation", "size", "red"), [(1, (96, 64), (10, 30)),
                                                          (6, (64, 96), (30, 10)),
                                                          (3, (96, 64), (85, 30))])  # fmt: skip
def test_photos_of_phones_are_read_upright(orientation, size, red):
    found = read(heic(orientation=orientation))
    assert (found.width, found.height) == found.rgb.size == size
    pixel = np.array(found.rgb.getpixel(red))
    assert pixel[0] > 200 > 50 > pixel[2]


def test_avif_is_read_too():
    file = io.BytesIO()
    Image.new("RGB", (32, 16), (250, 0, 0)).save(file, "AVIF")
    found = read(file.getvalue())
    assert found.rgb.size == (32, 16)
    assert found.rgb.getpixel((4, 4))[0] > 240


def test_what_cannot_be_read_says_why(monkeypatch):
    whole = heic()
    with pytest.raises(ImageError, match="too large: 96 x 64"):
        read(whole, 96 * 64 - 1)
    for damaged in (whole[:40], whole[:300], whole[:-50], whole[:16] + bytes(500)):
        with pytest.raises(ImageError):
            read(damaged)

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    heif.reader.cache_clear()
    with pytest.raises(ImageError, match=r"pip install 'featcache\[photos\]'"):
        read(whole)
    monkeypatch.undo()
    heif.reader.cache_clear()
    assert read(whole).width == 96


def test_nothing_is_registered_with_pillow():
    read(heic())
    assert "HEIF" not in Image.OPEN

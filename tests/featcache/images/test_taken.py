from __future__ import annotations

import io
import os
from datetime import UTC, datetime

import pillow_heif
import pytest
from PIL import Image

from featcache.images.taken import time_taken

CHANGED = 1e9

# As `featcache.images.decode` does for programs; pytest sets the filters of its own.
pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.TiffImagePlugin")


@pytest.fixture
def write(tmp_path):
    def write_(content):
        path = tmp_path / "photo"
        path.write_bytes(content)
        os.utime(path, (CHANGED, CHANGED))
        return path

    return write_


def exif(taken=None, changed=None, offset="+00:00"):
    tags = Image.Exif()
    if changed:
        tags[0x0132] = changed
    if taken:
        tags.get_ifd(0x8769)[0x9003] = taken
        tags.get_ifd(0x8769)[0x9011] = offset
    return tags


def encoded(tags, kind="JPEG"):
    file = io.BytesIO()
    picture = Image.new("RGB", (64, 64))
    if kind == "HEIF":
        pillow_heif.from_pillow(picture).save(file, exif=tags.tobytes())
    else:
        picture.save(file, kind, exif=tags)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_exif_says_when(write, kind):
    path = write(encoded(exif("2019:07:14 18:30:00", "2020:01:01 00:00:00"), kind))
    assert time_taken(path) == datetime(2019, 7, 14, 18, 30, tzinfo=UTC).timestamp()


def test_without_an_offset_it_is_the_time_here(write):
    path = write(encoded(exif(changed="2020:01:02 03:04:05")))
    assert time_taken(path) == datetime(2020, 1, 2, 3, 4, 5).timestamp()  # noqa: DTZ001


@pytest.mark.parametrize("text", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", ""])
def test_clocks_that_were_never_set_count_for_nothing(write, text):
    assert time_taken(write(encoded(exif(text)))) == CHANGED


def test_raw_files_and_files_that_are_none(write, make_dng):
    assert time_taken(write(make_dng())) == CHANGED
    raw = write(make_dng(taken=datetime(2020, 1, 2, 3, 4, 5)))  # noqa: DTZ001
    assert time_taken(raw) == datetime(2020, 1, 2, 3, 4, 5).timestamp()  # noqa: DTZ001
    for content in (b"", b"no image", b"II*\0\xff\xff\xff\xff", encoded(exif("x"))[:100]):
        assert time_taken(write(content)) == CHANGED
    with pytest.raises(FileNotFoundError):
        time_taken(write(b"").with_name("absent"))

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from featcache.images.color import changes
from featcache.images.decode import decode
from featcache.images.preprocess import Preprocessing, read_image

P3 = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)


def read(data, color="srgb"):
    found = decode(data, orientation="exif", truncated="refuse", max_pixels=10**8, color=color)
    return np.asarray(found.rgb, np.int64)  # [H, W, 3]


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def patches():
    """64 colors, each a square that JPEG keeps."""
    steps = np.array([0, 85, 170, 255], np.uint8)
    colors = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(8, 8, 3)
    return Image.fromarray(colors.repeat(16, 0).repeat(16, 1))


def reference(values):
    """Display P3 to sRGB by their definitions: values [..., 3] of 0 to 255."""
    v = values / 255
    light = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    light = (light @ (np.linalg.inv(SRGB) @ P3).T).clip(0, 1)
    v = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * v)


def test_a_display_p3_jpeg_becomes_what_the_definitions_say(make_icc):
    data = encoded(patches(), "JPEG", quality=100, subsampling=0, icc_profile=make_icc())
    stored, found = read(data, "stored"), read(data)
    assert np.abs(found - reference(stored)).max() <= 2
    assert np.abs(found - stored).max() > 20  # the greens, which sRGB has no room for


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_profiles_of_every_format(make_icc, kind):
    color = Image.new("RGB", (64, 64), (90, 180, 120))
    if kind == "HEIF":
        import pillow_heif

        file = io.BytesIO()
        heif = pillow_heif.from_pillow(color)
        heif.info["icc_profile"] = make_icc()
        heif.save(file, quality=-1)
        data = file.getvalue()
    else:
        lossless = {"lossless": True} if kind == "WEBP" else {}
        data = encoded(color, kind, icc_profile=make_icc(), **lossless)
    stored, found = read(data, "stored"), read(data)
    assert np.abs(found - reference(stored)).max() <= 2
    assert np.abs(found - stored).max() > 5


def test_what_is_srgb_already_stays_to_the_bit(make_icc):
    picture = patches()
    for profile in (make_icc(SRGB), b"", b"no profile", make_icc()[:200]):
        assert not changes(profile)
        data = encoded(picture, icc_profile=profile) if profile else encoded(picture)
        np.testing.assert_array_equal(read(data), np.asarray(picture))


def test_gray_palettes_and_transparent_pixels(make_icc):
    gray = Image.fromarray(np.arange(256, dtype=np.uint8)[None].repeat(8, 0))
    old = make_icc(curve=(1.8,), space=b"GRAY")
    found = read(encoded(gray, icc_profile=old))
    light = (np.arange(256) / 255) ** 1.8
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(found[0, 8:, 0] - 255 * expected[8:]).max() <= 2
    color = Image.new("RGB", (8, 8), (90, 180, 120))
    expected = reference(np.array([90, 180, 120]))
    for image in (color.quantize(4), color.convert("RGBA")):
        assert np.abs(read(encoded(image, icc_profile=make_icc())) - expected).max() <= 2
    # A profile of another kind of color than the pixels counts for nothing.
    assert (read(encoded(color, icc_profile=old)) == (90, 180, 120)).all()


def test_the_choice_is_part_of_the_fingerprint_and_leaves_no_trace_at_its_default(make_icc):
    usual = Preprocessing(size=4, mean=(0, 0, 0), std=(1, 1, 1))
    managed = usual.replace(color="srgb")
    assert "color" not in usual.to_dict()
    assert managed.to_dict()["color"] == "srgb"
    assert Preprocessing.from_dict(managed.to_dict()) == managed
    color = Image.new("RGB", (8, 8), (90, 180, 120))
    data = encoded(color, icc_profile=make_icc())
    assert read_image(data, usual).pixels[:, 0, 0].tolist() == [90, 180, 120]
    expected = reference(np.array([90, 180, 120]))
    assert np.abs(read_image(data, managed).pixels[:, 0, 0] - expected).max() <= 2

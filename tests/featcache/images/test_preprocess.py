"""How pixels become what a backbone sees; the reading of files is in test_decode.py."""

import hashlib
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featcache.errors import ImageError
from featcache.images.measures import measure
from featcache.images.preprocess import DecodedImage, Preprocessing, normalize, read_image

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PLAIN = Preprocessing(size=32, mean=MEAN, std=STD)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@given(
    size=st.integers(1, 1024),
    std=st.floats(0.01, 2),
    truncated=st.sampled_from(["refuse", "pad"]),
    orientation=st.sampled_from(["exif", "stored"]),
)
def test_a_preprocessing_survives_its_dictionary(size, std, truncated, orientation):
    value = Preprocessing(
        size=size, mean=MEAN, std=(std,) * 3, truncated=truncated, orientation=orientation
    )
    assert Preprocessing.from_dict(value.to_dict()) == value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size"),
        ({"mean": (0.5, 0.5)}, "mean"),
        ({"mean": (0.5, 0.5, float("nan"))}, "mean"),
        ({"std": (0.5, 0.0, 0.5)}, "std"),
        ({"interpolation": "nearest"}, "interpolation"),
        ({"resize": "crop"}, "resize"),
        ({"orientation": "up"}, "orientation"),
        ({"truncated": "guess"}, "truncated"),
        ({"max_pixels": 0}, "max_pixels"),
    ],
)
def test_a_senseless_preprocessing_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**{"size": 32, "mean": MEAN, "std": STD, **change})


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValueError, match="crop"):
        Preprocessing.from_dict({**PLAIN.to_dict(), "crop": 1})


@settings(max_examples=25)
@given(height=st.integers(1, 100), width=st.integers(1, 100), size=st.sampled_from([1, 17, 64]))
def test_equals_pillow_resize_then_normalize(height, width, size):
    pixels = noise(height, width)
    preprocessing = Preprocessing(size=size, mean=MEAN, std=STD)
    decoded = read_image(png(pixels), preprocessing)
    found = normalize(torch.from_numpy(decoded.pixels)[None], preprocessing)[0].numpy()
    small = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    reference = np.asarray(small).transpose(2, 0, 1) / 255
    reference = (reference - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference, atol=1e-6, rtol=0)


def test_records_size_digest_and_measures_of_the_original(tmp_path):
    pixels = noise(60, 90)
    path = tmp_path / "a.png"
    data = png(pixels)
    path.write_bytes(data)
    decoded = read_image(path, PLAIN)
    assert isinstance(decoded, DecodedImage)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == (3, 32, 32)
    assert decoded.pixels.flags.c_contiguous
    assert (decoded.width, decoded.height) == (90, 60)
    assert decoded.sha256 == hashlib.sha256(data).hexdigest()
    assert decoded.num_bytes == len(data) == path.stat().st_size
    assert decoded.measures == measure(pixels)
    np.testing.assert_array_equal(read_image(data, PLAIN).pixels, decoded.pixels)


def test_normalize_leaves_its_input_and_refuses_floats():
    pixels = torch.full((2, 3, 4, 4), 128, dtype=torch.uint8)
    normalize(pixels, PLAIN)
    assert (pixels == 128).all()
    with pytest.raises(ValueError, match="uint8"):
        normalize(pixels.float(), PLAIN)


# --- sizes ---------------------------------------------------------------------------------------


def sized(resize: str, **changes) -> Preprocessing:
    return Preprocessing(size=32, mean=MEAN, std=STD, resize=resize, **changes)


def test_native_pixels_stay_as_they_are():
    pixels = noise(45, 70)
    decoded = read_image(png(pixels), sized("native"))
    np.testing.assert_array_equal(decoded.pixels, pixels.transpose(2, 0, 1))
    assert decoded.pixels.flags.c_contiguous
    assert decoded.pixels.flags.writeable


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(100, 150, (64, 96)), (150, 100, (96, 64)), (30, 31, (64, 66)), (64, 64, (64, 64))],
)
def test_the_shorter_side_becomes_n(height, width, expected):
    pixels = noise(height, width)
    decoded = read_image(png(pixels), sized("short:64"))
    assert decoded.pixels.shape == (3, *expected)
    assert (decoded.height, decoded.width) == (height, width)
    resized = Image.fromarray(pixels).resize(expected[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(decoded.pixels, np.asarray(resized).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("resize", "size", "reason"),
    [
        ("native", (20, 50), "too small for the backbone: 50 x 20 pixels"),
        ("short:16", (200, 500), "too small for the backbone: 40 x 16 pixels"),
        ("native", (6000, 6000), "too large for the backbone: 6000 x 6000 pixels"),
        ("short:512", (2, 5000), "too large for the backbone: 1280000 x 512 pixels"),
    ],
)
def test_what_a_backbone_cannot_take_fails_with_its_reason(resize, size, reason):
    data = png(np.zeros((*size, 3), np.uint8))
    with pytest.raises(ImageError, match=reason):
        read_image(data, sized(resize, min_side=32))
    assert read_image(data, PLAIN).pixels.shape == (3, 32, 32)


def test_defaults_are_written_as_they_were():
    """Digests of caches made before there was a choice depend on it."""
    assert PLAIN.to_dict() == {
        "size": 32,
        "mean": list(MEAN),
        "std": list(STD),
        "interpolation": "bicubic",
        "resize": "squash",
        "orientation": "exif",
        "truncated": "refuse",
        "max_pixels": 178_956_970,
    }


def test_a_scaled_jpeg_looks_as_the_exact_one():
    smooth = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    image = Image.fromarray(smooth).resize((800, 600), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95)
    exact = read_image(stream.getvalue(), PLAIN)
    scaled = read_image(stream.getvalue(), PLAIN.replace(decode="scaled"))
    difference = np.abs(scaled.pixels.astype(int) - exact.pixels)
    assert 0 < difference.mean() < 1  # of 255 levels
    assert (scaled.width, scaled.height, scaled.sha256) == (800, 600, exact.sha256)
    for name, value in exact.measures.items():
        assert scaled.measures[name] == pytest.approx(value, rel=0.05)
    # Nothing is scaled of what is not resized.
    native = PLAIN.replace(resize="native")
    whole = read_image(stream.getvalue(), native.replace(decode="scaled"))
    np.testing.assert_array_equal(whole.pixels, read_image(stream.getvalue(), native).pixels)


def test_how_images_are_decoded_is_written_only_where_it_is_chosen():
    assert "decode" not in PLAIN.to_dict()
    scaled = PLAIN.replace(decode="scaled")
    assert scaled.to_dict()["decode"] == "scaled"
    assert Preprocessing.from_dict(scaled.to_dict()) == scaled

"""Files of all kinds, whole and damaged: pixels that are right, or one line that says why not."""

import hashlib
import io
import os
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from featcache.errors import ImageError
from featcache.images.decode import decode
from featcache.images.preprocess import Preprocessing, read_image

# pytest puts its own filters in front of the one that featcache.images.decode installs; that one is
# tested in a process of its own, at the end.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\.(TiffImagePlugin|JpegImagePlugin)"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PLAIN = Preprocessing(size=32, mean=MEAN, std=STD)
POLICY = {"orientation": "exif", "truncated": "refuse", "max_pixels": 1 << 20}
PAD = Preprocessing(size=32, mean=MEAN, std=STD, truncated="pad")


def picture(height: int = 60, width: int = 90, seed: int = 0) -> np.ndarray:
    """A smooth gradient with a little noise: compresses, and no two corners are alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    ramp = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], axis=-1)
    return np.clip(ramp + rng.normal(0, 4, ramp.shape), 0, 255).astype(np.uint8)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def squash(image: Image.Image, size: int = 32) -> np.ndarray:
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


# --- modes ---------------------------------------------------------------------------------------


def test_cmyk_is_converted():
    rgb = Image.fromarray(picture())
    data = encode(rgb.convert("CMYK"), "JPEG", quality=95)
    decoded = read_image(data, PLAIN)
    difference = np.abs(decoded.pixels.astype(int) - squash(rgb).astype(int))
    assert difference.mean() < 4  # JPEG's loss; an inverted CMYK would be about 100


def test_ycck_is_converted():
    """YCCK is CMYK with an Adobe marker that says so: transform 2, values inverted."""
    data = encode(Image.fromarray(picture()).convert("CMYK"), "JPEG", quality=95)
    marker = data.index(b"Adobe")
    ycck = data[: marker + 11] + b"\x02" + data[marker + 12 :]
    assert Image.open(io.BytesIO(ycck)).mode == "CMYK"
    reference = Image.open(io.BytesIO(ycck)).convert("RGB")
    np.testing.assert_array_equal(read_image(ycck, PLAIN).pixels, squash(reference))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grayscale_is_scaled_not_clipped(kind):
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    decoded = read_image(encode(Image.fromarray(values), kind), PLAIN)
    expected = np.round(values / 257).astype(np.uint8)
    reference = squash(Image.fromarray(expected).convert("RGB"))
    np.testing.assert_array_equal(decoded.pixels, reference)
    assert decoded.pixels.min() < 5
    assert decoded.pixels.max() > 250
    assert 100 < decoded.pixels.mean() < 155


def test_sixteen_bit_color_keeps_the_high_byte():
    high = picture(8, 8)
    body = b"".join(
        b"\x00" + b"".join(struct.pack(">H", int(v) << 8 | 0x7F) for v in row.reshape(-1))
        for row in high
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(read_image(data, PLAIN).pixels, squash(Image.fromarray(high)))


def test_a_palette_interpolates_colors_not_indices():
    palette = Image.fromarray(picture()).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    decoded = read_image(encode(palette, "PNG"), PLAIN)
    np.testing.assert_array_equal(decoded.pixels, squash(palette.convert("RGB")))
    assert len(np.unique(decoded.pixels.reshape(3, -1), axis=1).T) > 16


def test_a_transparent_palette_is_silent():
    palette = Image.fromarray(picture()).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    data = encode(palette, "PNG", transparency=bytes(range(16)))
    assert read_image(data, PLAIN).pixels.shape == (3, 32, 32)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "1"])
def test_alpha_is_dropped_and_gray_repeated(mode):
    rgb = Image.fromarray(picture())
    image = rgb.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.new("L", rgb.size, 0))  # transparent everywhere: colors must stay
    decoded = read_image(encode(image, "PNG"), PLAIN)
    reference = rgb if mode == "RGBA" else rgb.convert("1" if mode == "1" else "L").convert("RGB")
    np.testing.assert_array_equal(decoded.pixels, squash(reference))


@pytest.mark.parametrize("top", [1, 3, 7, 100, 255, 256, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_netpbm_of_any_depth(kind, top):
    values = np.arange(24 * 41).reshape(24, 41) * top // (24 * 41 - 1)
    samples = values[..., None].repeat(3, axis=-1) if kind in ("P3", "P6") else values
    if kind in ("P2", "P3"):
        body = " ".join(map(str, samples.ravel())).encode()
    else:
        body = samples.astype(">u2" if top > 255 else "u1").tobytes()
    image = decode(f"{kind}\n41 24\n{top}\n".encode() + body, **POLICY).rgb
    expected = (values / top * 255)[..., None].repeat(3, axis=-1)
    np.testing.assert_allclose(np.asarray(image), expected, atol=0.6)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_jpeg2000_gray_of_any_depth(bits):
    values = np.arange(64 * 64).reshape(64, 64) * (2**bits - 1) // (64 * 64 - 1)
    data = imagecodecs.jpeg2k_encode(
        values.astype("u1" if bits == 8 else "u2"), reversible=True, bitspersample=bits
    )
    image = decode(data, **POLICY).rgb
    expected = (values / (2**bits - 1) * 255)[..., None].repeat(3, axis=-1)
    np.testing.assert_allclose(np.asarray(image), expected, atol=1)


@pytest.mark.parametrize(
    ("dtype", "channels", "bits", "reason"),
    [
        ("u2", 3, 16, "3 x 16 bits"),
        ("u2", 3, 12, "3 x 12 bits"),
        ("u4", 1, 24, "1 x 24 bits"),
        ("u1", 1, 4, "1 x 4 bits"),
        ("i2", 1, 16, "1 x 16 signed bits"),
    ],
)
def test_jpeg2000_that_would_be_misread_is_refused(dtype, channels, bits, reason):
    data = imagecodecs.jpeg2k_encode(
        np.ones((64, 64, channels), dtype), reversible=True, bitspersample=bits
    )
    with pytest.raises(ImageError, match=f"JPEG 2000 of {reason}"):
        decode(data, **POLICY)


@pytest.mark.parametrize("bits", [12, 16])
def test_jpeg_of_other_depths_is_refused_but_not_called_damaged(bits):
    pixels = np.zeros((16, 16), np.uint16)
    encoder = imagecodecs.jpeg8_encode if bits == 12 else imagecodecs.ljpeg_encode
    with pytest.raises(ImageError, match=f"{bits}-bit") as caught:
        decode(encoder(pixels, bitspersample=bits), **POLICY)
    assert "damaged" not in str(caught.value)


def test_avif_of_ten_bits():
    pixels = np.stack([np.linspace(0, 1023, 64 * 64).reshape(64, 64)] * 3, -1).astype(np.uint16)
    data = imagecodecs.avif_encode(pixels, bitspersample=10, level=100, pixelformat="444")
    np.testing.assert_allclose(np.asarray(decode(data, **POLICY).rgb), pixels / 1023 * 255, atol=1)


def test_floating_point_netpbm_is_refused():
    with pytest.raises(ImageError, match="floating point"):
        decode(b"Pf\n2 2\n-1.0\n" + np.ones(4, "<f4").tobytes(), **POLICY)


# --- orientation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation_makes_the_image_upright(value, kind):
    upright = Image.fromarray(picture(48, 96))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[value]) if value in undo else upright
    exif = Image.Exif()
    exif[0x0112] = value
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    decoded = read_image(encode(stored, kind, exif=exif, **options), PLAIN)
    assert (decoded.width, decoded.height) == (96, 48)
    difference = np.abs(decoded.pixels.astype(int) - squash(upright).astype(int))
    assert difference.max() <= (12 if kind == "JPEG" else 0)


def test_orientation_can_be_left_as_stored():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(picture(48, 96)), "PNG", exif=exif)
    stored = Preprocessing(size=32, mean=MEAN, std=STD, orientation="stored")
    assert (read_image(data, stored).width, read_image(data, PLAIN).width) == (96, 48)


def test_damaged_exif_means_as_stored():
    data = encode(Image.fromarray(picture()), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert read_image(data, PLAIN).width == 90


# --- damage --------------------------------------------------------------------------------------


def test_an_empty_file_says_so(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ImageError, match=r"^empty file$"):
        read_image(tmp_path / "a.jpg", PLAIN)


def test_a_directory_a_missing_and_an_odd_file_say_so(tmp_path):
    with pytest.raises(ImageError, match="directory"):
        read_image(tmp_path, PLAIN)
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "none.jpg", PLAIN)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="regular"):
        read_image(tmp_path / "pipe.jpg", PLAIN)


@pytest.mark.parametrize(
    "data",
    [
        b"hello, I am a text file named photo.jpg\n",
        b"\x00" * 1000,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        b"II*\x00\x08\x00\x00\x00",
    ],
)
def test_what_is_no_image_is_refused_in_one_line(data):
    with pytest.raises(ImageError) as caught:
        read_image(data, PLAIN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_file_is_refused(kind):
    data = encode(Image.fromarray(picture(200, 300)), kind)
    with pytest.raises(ImageError):
        read_image(data[: len(data) // 2], PLAIN)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_a_truncated_file_is_padded_on_request(kind):
    image = Image.fromarray(picture(200, 300))
    data = encode(image, kind)
    whole, half = read_image(data, PAD), read_image(data[: len(data) // 2], PAD)
    assert (half.width, half.height) == (300, 200)
    assert half.sha256 != whole.sha256
    rows = slice(16, None) if kind == "BMP" else slice(0, 12)  # BMP is stored from the bottom
    np.testing.assert_allclose(
        half.pixels[:, rows].astype(int)[:, 2:-2],
        whole.pixels[:, rows].astype(int)[:, 2:-2],
        atol=3,
    )
    assert (half.pixels != whole.pixels).any()
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_padding_does_not_change_whole_files():
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encode(Image.fromarray(picture()), kind)
        np.testing.assert_array_equal(read_image(data, PAD).pixels, read_image(data, PLAIN).pixels)


def test_padding_still_refuses_what_never_was_an_image():
    for data in (b"text", b"\xff\xd8\xff", encode(Image.fromarray(picture()), "PNG")[:20]):
        with pytest.raises(ImageError):
            read_image(data, PAD)


def test_a_flag_that_hides_truncation_is_refused(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(Image.fromarray(picture()), "JPEG")
    with pytest.raises(ImageError, match="LOAD_TRUNCATED_IMAGES"):
        read_image(data, PLAIN)
    assert read_image(data, PAD).width == 90


@settings(max_examples=150)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF"]),
    where=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=8),
    values=st.binary(min_size=8, max_size=8),
    policy=st.sampled_from([PLAIN, PAD]),
)
def test_any_damage_is_an_image_error_or_an_image(kind, where, values, policy):
    data = bytearray(encode(Image.fromarray(picture(20, 30)), kind))
    for place, value in zip(where, values, strict=False):
        data[int(place * len(data))] = value
    try:
        decoded = read_image(bytes(data), policy)
    except ImageError as error:
        reason = str(error)
    else:
        assert decoded.pixels.shape == (3, 32, 32)
        return
    assert reason
    assert "\n" not in reason


# --- size ----------------------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A whole PNG header that promises more pixels than follow."""
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = zlib.crc32(b"IHDR" + ihdr)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + ihdr + struct.pack(">I", crc)
    return start + struct.pack(">I", 4) + b"IDAT" + b"\0\0\0\0" + b"\0\0\0\0"


def test_a_huge_image_is_refused_before_decoding():
    with pytest.raises(ImageError, match=r"too large: 40000 x 40000 .*max_pixels"):
        read_image(bomb(40_000, 40_000), PLAIN)


def test_the_limit_is_ours_in_both_directions(monkeypatch):
    data = encode(Image.fromarray(picture(60, 90)), "PNG")
    with pytest.raises(ImageError, match="too large: 90 x 60"):
        read_image(data, Preprocessing(size=32, mean=MEAN, std=STD, max_pixels=60 * 90 - 1))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow would warn, or raise, at 5,400
    assert read_image(data, PLAIN).width == 90
    assert Image.MAX_IMAGE_PIXELS == 10


# Before Pillow 13, WEBP kept none.
@pytest.mark.parametrize("kind", ["TIFF", *(["WEBP"] if PIL.__version__ >= "13" else [])])
def test_formats_that_keep_pillows_limit_end_in_an_image_error(kind, monkeypatch):
    data = encode(Image.fromarray(picture(60, 90)), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match="limit of 20 pixels"):
        read_image(data, PLAIN)


def test_extreme_proportions_are_fine():
    data = encode(Image.fromarray(picture(1, 5000)), "PNG")
    assert read_image(data, PLAIN).pixels.shape == (3, 32, 32)


# --- frames, threads, warnings -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "lime", "blue")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    decoded = read_image(data, PLAIN)
    assert decoded.pixels[0].min() > 240
    assert decoded.pixels[1:].max() < 16


def test_threads_agree_with_one_thread():
    files = [encode(Image.fromarray(picture(seed=s)), k) for s in range(8) for k in ("JPEG", "PNG")]
    files += [f[: len(f) * 3 // 4] for f in files]

    def digest(data: bytes, policy: Preprocessing) -> str:
        try:
            return hashlib.sha256(read_image(data, policy).pixels.tobytes()).hexdigest()
        except ImageError as error:
            return str(error)

    jobs = [(f, p) for f in files for p in (PLAIN, PAD)]
    alone = [digest(*job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: digest(*job), jobs * 3))
    assert together == alone * 3


def test_nothing_is_printed_and_nothing_of_pillow_changes(tmp_path):
    (tmp_path / "bomb.png").write_bytes(bomb(12_000, 10_000))  # Pillow warns from 89 megapixels on
    jpeg = encode(
        Image.fromarray(picture()), "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x05"
    )
    (tmp_path / "exif.jpg").write_bytes(jpeg)
    script = """
import sys, pathlib
from PIL import Image, ImageFile
before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
from featcache.errors import ImageError
from featcache.images.preprocess import Preprocessing, read_image
assert "torch" not in sys.modules
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    for truncated in ("refuse", "pad") if path.suffix == ".jpg" else ("refuse",):
        try:
            read_image(path, Preprocessing(size=8, mean=(0,)*3, std=(1,)*3, truncated=truncated))
        except ImageError:
            pass
assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
"""
    run = subprocess.run(
        [sys.executable, "-W", "default", "-c", script, str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def photo(width: int, height: int, orientation: int = 1) -> bytes:
    """A smooth JPEG."""
    pixels = np.random.default_rng(0).integers(0, 256, (height // 40, width // 40, 3), np.uint8)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("size", "enough", "decoded"),
    [
        ((800, 600), (200, 200), (400, 300)),  # a quarter would have 150 rows
        ((1001, 800), (150, 150), (251, 200)),  # sides are rounded up
        ((800, 600), (10, 10), (100, 75)),  # the decoder knows no less than an eighth
        ((800, 600), (500, 500), (800, 600)),
    ],
)
def test_a_jpeg_is_decoded_no_larger_than_needed(size, enough, decoded):
    found = decode(photo(*size), **POLICY, enough=lambda *_: enough)
    assert found.rgb.size == decoded
    assert (found.width, found.height) == size


def test_the_size_is_that_of_the_upright_original():
    found = decode(photo(800, 600, orientation=6), **POLICY, enough=lambda *_: (100, 100))
    assert (found.width, found.height) == (600, 800)
    assert found.rgb.size == (150, 200)


def test_other_formats_are_decoded_whole():
    stream = io.BytesIO()
    Image.new("RGB", (800, 600), "teal").save(stream, "PNG")
    assert decode(stream.getvalue(), **POLICY, enough=lambda *_: (10, 10)).rgb.size == (800, 600)

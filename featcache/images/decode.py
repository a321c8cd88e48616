"""From a file's bytes to upright 8-bit RGB pixels, or a one-line reason why not.

The order is fixed, because each step depends on it:

1. identify the format and read the header; refuse more than ``max_pixels`` before any decoding;
2. decode the first frame;
3. convert to 8-bit RGB (below);
4. apply the EXIF orientation, so that width, height and measures are those of the upright image.

Step 3, by Pillow mode. With ``color="srgb"``, colors of an embedded ICC profile are converted to
sRGB (``color.py``); with ``stored``, profiles are not looked at. Palettes become RGBA, then RGB, so
that resizing interpolates colors and never palette indices. CMYK and YCCK are converted by Pillow
without a color profile. Alpha is dropped, not blended, as OpenCLIP's own ``convert("RGB")`` does:
transparent pixels show the color stored beneath. Gray of more than 8 bits is scaled to 255 and
rounded (Pillow itself would clip at 255); of 16-bit color Pillow keeps the high byte. Signed,
32-bit and floating point values have no agreed range, and Lab no conversion here: they are refused.
``tiff.py`` has the many forms of TIFF, ``png.py`` the parts of a PNG that are no pixels,
``heif.py`` the photos of phones, ``raw.py`` the raw files of cameras, which become a preview or a
development of half the size first.

``decode`` runs in many threads at once. It neither sets nor depends on Pillow's process-wide
switches: the size limit is its own, on the header, and a truncated file is completed, if the policy
says so, without ``ImageFile.LOAD_TRUNCATED_IMAGES``.
"""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
import zlib
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageFile

from featcache.errors import ImageError
from featcache.images import heif
from featcache.images.color import LARGEST, to_srgb
from featcache.images.jpeg2000 import require_depth
from featcache.images.png import profile, without_texts
from featcache.images.raw import Raw, is_raw
from featcache.images.tiff import Levels, Page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Formats that are images of pixels. Others that Pillow opens run an interpreter (EPS) or are
# containers of another kind (PDF, HDF5): a folder of photos has no need of them.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")

Color = Literal["stored", "srgb"]

_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {  # value of the EXIF tag -> what makes the image upright (EXIF 2.32, 4.6.4)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Those after which width and height have changed places.
TURNED = [_TRANSPOSE[value] for value in (5, 6, 7, 8)]

# What Pillow's parsers and decoders raise on damaged files (found by altering bytes of all
# FORMATS); anything else is a bug and must surface.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    RuntimeError,  # AVIF
    struct.error,
    zlib.error,
    Image.DecompressionBombError,  # TIFF and WEBP apply Pillow's own limit as well
)

_init_lock = threading.Lock()

# Pillow warns about damaged metadata in otherwise good files, and about sizes that ``max_pixels``
# decides here. The reader's contract is one reason per failed image and silence otherwise. Fixed,
# narrow filters are the thread-safe way: `warnings.catch_warnings` swaps state that all threads
# share. The null handler keeps Pillow's log off stderr in programs that set up no logging.
warnings.filterwarnings(
    "ignore", category=UserWarning, module=r"PIL\.(TiffImagePlugin|JpegImagePlugin)"
)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
logging.getLogger("PIL").addHandler(logging.NullHandler())


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file; pipes and devices would block or never end."""
    if path.is_dir():
        raise ImageError("a directory, not a file")
    if not path.exists():
        raise ImageError("no such file")
    if not path.is_file():
        raise ImageError("not a regular file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from error


class Decoded(NamedTuple):
    """Pixels, and the size of the original: that of the pixels, but for those decoded smaller."""

    rgb: Image.Image
    width: int
    height: int


def decode(
    data: bytes,
    *,
    orientation: Literal["exif", "stored"],
    truncated: Literal["refuse", "pad"],
    max_pixels: int,
    enough: Callable[[int, int], tuple[int, int]] | None = None,
    color: Color = "stored",
) -> Decoded:
    """Decode the first frame to 8-bit RGB; safe to call from many threads.

    Args:
        data: A file's content.
        orientation: ``exif`` makes the image upright, ``stored`` takes it as it is stored.
        truncated: ``refuse`` a file that ends early, or ``pad`` what is missing.
        max_pixels: Refuse images with more, before they are decoded.
        enough: Given width and height as stored, returns those that are enough: a JPEG is decoded
            to the smallest of 1/8, 1/4, 1/2 and all of its size that has them. None decodes all.
        color: ``srgb`` converts the colors of an embedded ICC profile to sRGB; ``stored`` takes
            the numbers as they are.

    Raises:
        ImageError: With a one-line reason.
    """
    if not data:
        raise ImageError("empty file")
    if is_raw(data):
        return _developed(data, orientation, max_pixels, enough, color)
    image, levels = _open(data, truncated, max_pixels)
    with image:
        width, height = image.size
        if enough is not None and image.format == "JPEG":  # only these can be decoded smaller
            image.draft(None, enough(width, height))
        rgb = _to_rgb(_load(image, truncated), levels, color)
        operation = _orientation(image) if orientation == "exif" else None
    if operation is None:
        return Decoded(rgb, width, height)
    if operation in TURNED:
        width, height = height, width
    return Decoded(rgb.transpose(operation), width, height)


def _developed(
    data: bytes,
    orientation: str,
    max_pixels: int,
    enough: Callable[[int, int], tuple[int, int]] | None,
    color: Color,
) -> Decoded:
    """Return a raw file's preview, or its development at half the size."""
    with Raw(data, max_pixels) as raw:
        rgb = _preview(raw, max_pixels, enough, color) or raw.develop()
        if orientation == "stored":
            return Decoded(rgb, raw.across, raw.down)
        return Decoded(raw.upright(rgb), raw.width, raw.height)


def _preview(
    raw: Raw,
    max_pixels: int,
    enough: Callable[[int, int], tuple[int, int]] | None,
    color: Color,
) -> Image.Image | None:
    """Return the JPEG inside a raw file, as stored; None where it is small, damaged, or none."""
    jpeg = raw.preview()
    if jpeg is None:
        return None
    try:
        header = jpeg_header(jpeg, max_pixels)
        if header is None or not raw.large_enough(header.width, header.height):
            return None
        return decode(
            jpeg,
            orientation="stored",
            truncated="refuse",
            max_pixels=max_pixels,
            enough=enough,
            color=color,
        ).rgb
    except ImageError:  # what the sensor measured may be whole
        return None


class JpegHeader(NamedTuple):
    """Size as stored, what makes the image upright, and the ICC profile of its colors."""

    width: int
    height: int
    operation: Image.Transpose | None
    profile: bytes | None


def jpeg_header(data: bytes, max_pixels: int) -> JpegHeader | None:
    """Read the header of a JPEG file in color or gray; None for all other files.

    Raises:
        ImageError: The image has more pixels than it may have, or is none.
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    image, _ = _open(data, "refuse", max_pixels)
    with image:
        if image.format != "JPEG" or image.mode not in ("RGB", "L"):
            return None
        return JpegHeader(*image.size, _orientation(image), image.info.get("icc_profile"))


def _open(data: bytes, truncated: str, max_pixels: int) -> tuple[ImageFile.ImageFile, Levels]:
    """Identify the format, parse the header, check the size; nothing is decoded.

    This is `Image.open` without its own size check, which warns or raises by a limit that the
    whole process shares.
    """
    with _init_lock:  # imports Pillow's plugins the first time
        Image.init()
    if heif.is_heif(data[:16]):
        try:
            return _of_size(*_parse("HEIF", heif.reader(), data, truncated), max_pixels)
        except DAMAGE as error:
            if isinstance(error, ImageError):
                raise
            raise ImageError(f"the HEIF header cannot be read: {_one_line(error)}") from error
    failure = "not an image, or of a format that is not supported"
    for name in FORMATS:
        if name not in Image.OPEN:  # this build of Pillow lacks the codec
            continue
        factory, accepts = Image.OPEN[name]
        if accepts is not None and accepts(data[:16]) is not True:
            continue
        try:
            opened = _parse(name, factory, data, truncated)
        except ImageError:
            raise
        except DAMAGE as error:
            failure = f"the {name} header cannot be read: {_one_line(error)}"
            continue
        return _of_size(*opened, max_pixels)
    raise ImageError(failure)


def _of_size(
    image: ImageFile.ImageFile, levels: Levels, max_pixels: int
) -> tuple[ImageFile.ImageFile, Levels]:
    """Refuse an opened image with too many pixels."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"too large: {width} x {height} pixels, over the limit of {max_pixels:,} (max_pixels)"
        )
    return image, levels


def _parse(
    name: str, factory: Callable[..., ImageFile.ImageFile], data: bytes, truncated: str
) -> tuple[ImageFile.ImageFile, Levels]:
    """Parse the header of a file of a known format."""
    if name == "TIFF":
        page = Page(data)
        page.require_meaning()
        try:
            image = factory(io.BytesIO(page.readable()), "")
        except DAMAGE as error:
            reason = f"{page} cannot be read ({_one_line(error)}); convert to RGB of 8 bits"
            raise ImageError(reason) from error
        page.mend_tiles(image)
        return image, page.levels
    if name == "JPEG2000":
        require_depth(data)
    elif name == "PNG":
        image = factory(io.BytesIO(without_texts(data)), "")
        image.info["icc_profile"] = profile(data, LARGEST)
        return image, Levels()
    elif name == "JPEG" and truncated == "pad":
        data += b"\xff\xd9"  # a JPEG that ends early decodes to its end once an end marker follows
    return factory(io.BytesIO(data), ""), Levels()


def _load(image: ImageFile.ImageFile, truncated: str) -> Image.Image:
    """Decode the first frame, under the policy for truncated files."""
    if truncated == "refuse" and ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ImageError(
            "this process has set PIL.ImageFile.LOAD_TRUNCATED_IMAGES, so a truncated file cannot "
            "be told from a whole one: unset it, or choose truncated='pad'"
        )
    try:
        image.load()
    except (*DAMAGE, MemoryError) as error:
        if truncated == "refuse" or not _has_pixels(image):
            raise ImageError(f"cannot be decoded: {_one_line(error)}") from error
        # The decoder writes into the image as it goes. Without tiles left to load, `load` and all
        # that calls it accept what is there.
        image.tile = []
    return image


def _has_pixels(image: ImageFile.ImageFile) -> bool:
    """Whether decoding got as far as to allocate the image."""
    return getattr(image, "_im", None) is not None


def _to_rgb(image: Image.Image, levels: Levels, color: Color) -> Image.Image:
    """Convert any supported mode to 8-bit RGB; see the module's docstring."""
    mode = image.mode
    try:
        if mode.startswith("I;16") or mode == "I":
            gray = _eight_bit(image, levels)
            gray.info["icc_profile"] = image.info.get("icc_profile")
            image, mode = gray, gray.mode
        if mode == "F":
            raise ImageError("floating point pixels have no agreed range; convert to 8 or 16 bits")
        if color == "srgb" and (converted := to_srgb(image)) is not None:
            return converted
        if mode in ("P", "PA", "LA", "La", "RGBa"):
            image = image.convert("LA") if mode == "La" else image
            return image.convert("RGBA").convert("RGB")
        return image.convert("RGB")
    except DAMAGE as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"cannot be converted from {mode} to RGB: {_one_line(error)}") from error


def _eight_bit(image: Image.Image, levels: Levels) -> Image.Image:
    """Scale 0..top to 0..255, rounded; Pillow's own conversion clips at 255."""
    values = np.asarray(image).astype(np.int64)  # [H, W]
    top = levels.top
    if values.size and (values.min() < 0 or values.max() > top):
        raise ImageError(f"pixels outside 0..{top} have no agreed range; convert to 8 or 16 bits")
    scaled = ((values * 255 + top // 2) // top).astype(np.uint8)
    return Image.fromarray(255 - scaled if levels.inverted else scaled)


def _orientation(image: ImageFile.ImageFile) -> Image.Transpose | None:
    """Return what makes an image upright; damaged or senseless metadata means: as stored."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except DAMAGE:
        # The pixels are whole and the tag is optional: a reader that cannot parse it shows the
        # image as stored, like browsers do.
        return None
    return _TRANSPOSE.get(value) if isinstance(value, int) else None


def _one_line(error: BaseException) -> str:
    """Return an exception's text as one line, or its class when it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__

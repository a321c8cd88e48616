"""Preprocessing as a value: from a file's bytes to the square of pixels a backbone reads.

The order is fixed, because each step depends on it:

1. identify the format and read the header; refuse more than ``max_pixels`` before any decoding;
2. decode the first frame;
3. convert to 8-bit RGB (below);
4. apply the EXIF orientation, so that width, height and measures are those of the upright image;
5. squash to ``size x size``, bicubic with antialiasing (Pillow's resize);
6. on the device, ``normalise``: ``(x / 255 - mean) / std``.

Step 3, by Pillow mode. Palettes become RGBA, then RGB, so that resizing interpolates colours
and never palette indices. CMYK and YCCK are converted by Pillow without a colour profile. Alpha is
dropped, not blended, as OpenCLIP's own ``convert("RGB")`` does: transparent pixels show the colour
stored beneath. 16-bit greyscale is scaled by 255/65535 and rounded (Pillow itself would clip at
255); of 16-bit colour Pillow keeps the high byte. Floating point, 32-bit integer beyond 16 bits,
and LAB have no agreed range or conversion here: they are refused.

``read_image`` runs in many threads at once. It neither sets nor depends on Pillow's process-wide
switches: the size limit is its own, on the header, and a truncated file is completed, if the policy
says so, without ``ImageFile.LOAD_TRUNCATED_IMAGES``.
"""

from __future__ import annotations

import hashlib
import io
import logging
import struct
import threading
import warnings
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageFile

from featcache.errors import ImageError
from featcache.measures import measure

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

# Formats that are images of pixels. Others that Pillow opens run an interpreter (EPS) or are
# containers of another kind (PDF, HDF5): a folder of photos has no need of them.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

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

# What Pillow's parsers and decoders raise on damaged files (found by altering bytes of all
# FORMATS); anything else is a bug and must surface.
_DAMAGE = (
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


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What is done to an image before the backbone sees it; part of the fingerprint.

    Attributes:
        size: Side S of the square, in pixels.
        mean: Per-channel mean (R, G, B), of pixels scaled to 0..1; the model's own.
        std: Per-channel standard deviation, likewise.
        interpolation: ``bicubic`` or ``bilinear``, both with antialiasing.
        resize: ``squash``: both sides become S, the aspect ratio is not kept.
        orientation: ``exif`` makes the image upright; ``stored`` takes the pixels as stored
            (except TIFF, whose decoder orients by itself).
        truncated: ``refuse`` a file that ends early, or ``pad``: keep what was decoded, the rest
            stays as the decoder leaves it (grey for JPEG, black for others).
        max_pixels: Refuse images with more pixels (width times height, from the header).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["squash"] = "squash"
    orientation: Literal["exif", "stored"] = "exif"
    truncated: Literal["refuse", "pad"] = "refuse"
    max_pixels: int = 178_956_970

    def __post_init__(self) -> None:
        """Check every field; JSON lists become tuples, so that equal values compare equal."""
        if self.size < 1:
            raise ValueError(f"preprocessing: size must be 1 or more, found {self.size}")
        for name in ("mean", "std"):
            values = tuple(float(v) for v in getattr(self, name))
            if len(values) != 3 or not all(np.isfinite(values)):
                raise ValueError(f"preprocessing: {name} must be 3 numbers, found {values}")
            object.__setattr__(self, name, values)
        if min(self.std) <= 0:
            raise ValueError(f"preprocessing: std must be positive, found {self.std}")
        choices = {
            "interpolation": tuple(_FILTERS),
            "resize": ("squash",),
            "orientation": ("exif", "stored"),
            "truncated": ("refuse", "pad"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"preprocessing: {name} must be one of {', '.join(allowed)}, "
                    f"found {getattr(self, name)!r}"
                )
        if self.max_pixels < 1:
            raise ValueError(
                f"preprocessing: max_pixels must be 1 or more, found {self.max_pixels}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Build from `to_dict`'s output; an unknown key is an error, not ignored."""
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise ValueError(f"preprocessing: unknown settings {', '.join(unknown)}")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """One image, ready for `normalise`, and what is recorded about its file.

    Attributes:
        pixels: uint8 array [3, S, S], RGB, contiguous.
        width: Of the upright original, in pixels.
        height: Likewise.
        sha256: Hex digest of the file's bytes.
        num_bytes: Size of the file.
        measures: `featcache.measures.measure` of the upright original's pixels.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    sha256: str
    num_bytes: int
    measures: dict[str, float]


def read_image(
    source: str | os.PathLike[str] | bytes, preprocessing: Preprocessing
) -> DecodedImage:
    """Read, decode and resize one image; safe to call from many threads.

    Args:
        source: A file's path, or a file's content.
        preprocessing: What to do to it.

    Returns:
        The pixels uint8 [3, S, S] and the record of the file.

    Raises:
        ImageError: With a one-line reason, the one that samples.parquet records.
    """
    data = source if isinstance(source, bytes) else _read_file(Path(source))
    if not data:
        raise ImageError("empty file")
    with _open(data, preprocessing) as image:
        rgb = _to_rgb(_decode(image, preprocessing))
        if preprocessing.orientation == "exif":
            rgb = _upright(image, rgb)
    original = np.asarray(rgb)  # [H, W, 3]
    side = (preprocessing.size, preprocessing.size)
    squashed = rgb.resize(side, _FILTERS[preprocessing.interpolation])
    # A copy of its own: contiguous, and writable, which torch.from_numpy asks for.
    pixels = np.array(np.asarray(squashed).transpose(2, 0, 1), order="C")  # [3, S, S]
    return DecodedImage(
        pixels=pixels,
        width=rgb.width,
        height=rgb.height,
        sha256=hashlib.sha256(data).hexdigest(),
        num_bytes=len(data),
        measures=measure(original),
    )


def normalise(pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Scale to 0..1, subtract the mean, divide by the standard deviation.

    Args:
        pixels: uint8 [B, 3, S, S], on any device.
        preprocessing: Whose mean and std are used.

    Returns:
        float32 [B, 3, S, S] on the same device.
    """
    import torch

    if pixels.dtype != torch.uint8:
        raise ValueError(f"normalise: expected uint8 pixels, found {pixels.dtype}")
    mean = torch.tensor(preprocessing.mean, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, device=pixels.device).view(1, 3, 1, 1)
    return pixels.to(torch.float32).div_(255).sub_(mean).div_(std)


def _read_file(path: Path) -> bytes:
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


def _open(data: bytes, preprocessing: Preprocessing) -> ImageFile.ImageFile:
    """Identify the format, parse the header, check the size; nothing is decoded.

    This is `Image.open` without its own size check, which warns or raises by a limit that the
    whole process shares.
    """
    with _init_lock:  # imports Pillow's plugins the first time
        Image.init()
    failure = "not an image, or of a format that is not supported"
    for name in FORMATS:
        if name not in Image.OPEN:  # this build of Pillow lacks the codec
            continue
        factory, accepts = Image.OPEN[name]
        if accepts is not None and accepts(data[:16]) is not True:
            continue
        try:
            # A JPEG that ends early decodes to its end once an end marker follows.
            pad = name == "JPEG" and preprocessing.truncated == "pad"
            image = factory(io.BytesIO(data + b"\xff\xd9" if pad else data), "")
        except _DAMAGE as error:
            failure = f"damaged {name} header: {_one_line(error)}"
            continue
        width, height = image.size
        if width * height > preprocessing.max_pixels:
            raise ImageError(
                f"too large: {width} x {height} pixels, over the limit of "
                f"{preprocessing.max_pixels:,} (max_pixels)"
            )
        return image
    raise ImageError(failure)


def _decode(image: ImageFile.ImageFile, preprocessing: Preprocessing) -> Image.Image:
    """Decode the first frame, under the policy for truncated files."""
    if preprocessing.truncated == "refuse" and ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ImageError(
            "this process has set PIL.ImageFile.LOAD_TRUNCATED_IMAGES, so a truncated file cannot "
            "be told from a whole one: unset it, or choose truncated='pad'"
        )
    try:
        image.load()
    except (*_DAMAGE, MemoryError) as error:
        if preprocessing.truncated == "refuse" or not _has_pixels(image):
            raise ImageError(f"cannot be decoded: {_one_line(error)}") from error
        # The decoder writes into the image as it goes. Without tiles left to load, `load` and all
        # that calls it accept what is there.
        image.tile = []
    return image


def _has_pixels(image: ImageFile.ImageFile) -> bool:
    """Whether decoding got as far as to allocate the image."""
    return getattr(image, "_im", None) is not None


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any supported mode to 8-bit RGB; see the module's docstring."""
    mode = image.mode
    try:
        if mode.startswith("I;16") or mode == "I":
            return _sixteen_bit(image).convert("RGB")
        if mode == "F":
            raise ImageError("floating point pixels have no agreed range; convert to 8 or 16 bits")
        if mode in ("P", "PA", "LA", "La", "RGBa"):
            image = image.convert("LA") if mode == "La" else image
            return image.convert("RGBA").convert("RGB")
        return image.convert("RGB")
    except _DAMAGE as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"cannot be converted from {mode} to RGB: {_one_line(error)}") from error


def _sixteen_bit(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255, rounded; Pillow's own conversion clips at 255."""
    values = np.asarray(image).astype(np.int64)  # [H, W]
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ImageError("32-bit integer pixels have no agreed range; convert to 8 or 16 bits")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _upright(image: ImageFile.ImageFile, rgb: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; damaged or senseless metadata means: as stored."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DAMAGE:
        # The pixels are whole and the tag is optional: a reader that cannot parse it shows the
        # image as stored, like browsers do.
        return rgb
    operation = _TRANSPOSE.get(value) if isinstance(value, int) else None
    return rgb if operation is None else rgb.transpose(operation)


def _one_line(error: BaseException) -> str:
    """Return an exception's text as one line, or its class when it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__

"""Preprocessing as a value: from a file's bytes to the pixels that a backbone reads.

Steps 1 to 4 are those of ``decode.py``: identify, decode, convert to RGB, make upright. Then

5. resize, bicubic with antialiasing (Pillow's resize): to a square of ``size x size`` (squash), to
   a shorter side of N pixels (short:N), or not at all (native);
6. on the device, ``normalize``: ``(x / 255 - mean) / std``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from PIL import Image

from featcache.configuration import Configuration, newer
from featcache.errors import ConfigError, ImageError
from featcache.images.decode import decode, read_file
from featcache.images.gpu import Resized, read_jpeg
from featcache.images.measures import measure

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

# What a backbone is given of an image that is not squashed: 33.5 megapixels. A ResNet-50 takes
# about 9 GB for as many; see tests/featcache/backbone/test_memory.py.
MOST_PIXELS = 1 << 25

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True, kw_only=True)
class Preprocessing(Configuration):
    """What is done to an image before the backbone sees it; part of the fingerprint.

    Attributes:
        size: Side S of the square, in pixels; the model's own.
        mean: Per-channel mean (R, G, B), of pixels scaled to 0..1; the model's own.
        std: Per-channel standard deviation, likewise.
        interpolation: ``bicubic`` or ``bilinear``, both with antialiasing.
        resize: ``squash``: both sides become S, the aspect ratio is not kept. ``native``: pixels
            stay as they are. ``short:N``: the shorter side becomes N, the longer follows, its
            fraction of a pixel dropped.
        orientation: ``exif`` makes the image upright; ``stored`` takes the pixels as stored
            (except TIFF, whose decoder orients by itself).
        truncated: ``refuse`` a file that ends early, or ``pad``: keep what was decoded, the rest
            stays as the decoder leaves it (gray for JPEG, black for others).
        max_pixels: Refuse images with more pixels (width times height, from the header).
        decode: ``exact``, or ``scaled``: of a JPEG that is more than twice as large as it becomes,
            the decoder makes half, a quarter or an eighth of each side, at least twice of what is
            needed. Much quicker for photos of many megapixels; pixels and measures differ a little.
            ``gpu``: JPEG is decoded and resized on the backbone's GPU; see ``gpu.py``.
        color: ``stored`` takes the numbers as they are stored, as CLIP's own code does; ``srgb``
            converts the colors of an embedded ICC profile to sRGB; see ``color.py``.
        min_side: Refuse images with a shorter side, after resizing: those that the backbone sees
            nothing in.
    """

    _title: ClassVar[str] = "preprocessing"

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: str = "squash"
    orientation: Literal["exif", "stored"] = "exif"
    truncated: Literal["refuse", "pad"] = "refuse"
    max_pixels: int = 178_956_970
    min_side: int = newer(1)
    decode: Literal["exact", "scaled", "gpu"] = newer("exact")
    color: Literal["stored", "srgb"] = newer("stored")

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        self._require_at_least(1, "size", "max_pixels", "min_side")
        for name in ("mean", "std"):  # a model's config may say 0 and 1: one value, one digest
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        if min(self.std) <= 0:
            raise ConfigError(f"std must be positive, not {self.std}")
        short_side(self.resize)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from `to_dict`'s output; what an older cache does not have takes its default."""
        return cls.build(**values)

    @property
    def one_size(self) -> bool:
        """Whether all images become equally large."""
        return self.resize == "squash"

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return width and height of an image after resizing.

        Raises:
            ImageError: It is too small, or stays too large, for a backbone.
        """
        if self.one_size:
            return self.size, self.size
        short = short_side(self.resize)
        if short is not None:
            shorter = min(width, height)
            width, height = short * width // shorter, short * height // shorter
        if min(width, height) < self.min_side:
            raise ImageError(
                f"too small for the backbone: {width} x {height} pixels with --resize "
                f"{self.resize}, and each side needs {self.min_side} or more"
            )
        if width * height > MOST_PIXELS:
            raise ImageError(
                f"too large for the backbone: {width} x {height} pixels with --resize "
                f"{self.resize}, over the limit of {MOST_PIXELS:,}; give --resize short:N"
            )
        return width, height

    def enough(self, width: int, height: int) -> tuple[int, int]:
        """Return the size that an image has to be decoded to: twice of what it becomes."""
        across, down = self.target(width, height)
        return 2 * across, 2 * down


def short_side(resize: str) -> int | None:
    """Return N of ``short:N``, or None for the other choices.

    Raises:
        ConfigError: It is none of the choices.
    """
    if resize in ("squash", "native"):
        return None
    kind, _, number = resize.partition(":")
    if kind == "short" and number.isascii() and number.isdecimal() and 0 < int(number) < 1 << 16:
        return int(number)
    raise ConfigError(
        f"resize must be squash, native or short:N with N from 1 to 65535, not {resize!r}"
    )


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """One image, ready for `normalize`, and what is recorded about its file.

    Attributes:
        pixels: uint8 array [3, H, W], RGB, contiguous; H = W = S where images are squashed.
        width: Of the upright original, in pixels.
        height: Likewise.
        sha256: Hex digest of the file's bytes.
        num_bytes: Size of the file.
        measures: `featcache.images.measures.measure` of the upright original's pixels.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    sha256: str
    num_bytes: int
    measures: dict[str, float]


def read_image(
    source: str | os.PathLike[str] | bytes,
    preprocessing: Preprocessing,
    device: torch.device | None = None,
) -> DecodedImage:
    """Read, decode and resize one image; safe to call from many threads.

    Args:
        source: A file's path, or a file's content.
        preprocessing: What to do to it.
        device: The GPU to decode on, where that is what to do.

    Returns:
        The pixels uint8 [3, H, W] and the record of the file.

    Raises:
        ImageError: With a one-line reason, the one that samples.parquet records.
        ConfigError: The device cannot decode, and is asked to.
    """
    data = source if isinstance(source, bytes) else read_file(Path(source))
    found = _on_device(data, preprocessing, device) or _on_host(data, preprocessing)
    return DecodedImage(
        pixels=found.pixels,
        width=found.width,
        height=found.height,
        sha256=hashlib.sha256(data).hexdigest(),
        num_bytes=len(data),
        measures=found.measures,
    )


def _on_host(data: bytes, preprocessing: Preprocessing) -> Resized:
    """Decode and resize with Pillow."""
    rgb, width, height = decode(
        data,
        orientation=preprocessing.orientation,
        truncated=preprocessing.truncated,
        max_pixels=preprocessing.max_pixels,
        enough=preprocessing.enough if preprocessing.decode == "scaled" else None,
        color=preprocessing.color,
    )
    original = np.asarray(rgb)  # [H, W, 3]
    target = preprocessing.target(width, height)
    resized = rgb.resize(target, _FILTERS[preprocessing.interpolation])
    # A copy of its own: contiguous, and writable, which torch.from_numpy asks for.
    pixels = np.array(np.asarray(resized).transpose(2, 0, 1), order="C")  # [3, H, W]
    return Resized(pixels, width, height, measure(original))


def _on_device(
    data: bytes, preprocessing: Preprocessing, device: torch.device | None
) -> Resized | None:
    """Decode and resize on a GPU, where that is asked for and possible."""
    if preprocessing.decode != "gpu":
        return None
    return read_jpeg(
        data,
        device=device,
        target=preprocessing.target,
        interpolation=preprocessing.interpolation,
        upright=preprocessing.orientation == "exif",
        managed=preprocessing.color == "srgb",
        max_pixels=preprocessing.max_pixels,
    )


def normalize(pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Scale to 0..1, subtract the mean, divide by the standard deviation.

    Args:
        pixels: uint8 [B, 3, H, W], on any device.
        preprocessing: Gives mean and std.

    Returns:
        float32 [B, 3, H, W] on the same device.
    """
    import torch

    if pixels.dtype != torch.uint8:
        raise ValueError(f"normalize: expected uint8 pixels, found {pixels.dtype}")
    mean = torch.tensor(preprocessing.mean, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, device=pixels.device).view(1, 3, 1, 1)
    return pixels.to(torch.float32).div_(255).sub_(mean).div_(std)

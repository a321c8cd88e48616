"""Preprocessing as a value: from a file's bytes to the square of pixels a backbone reads.

Steps 1 to 4 are those of ``decode.py``: identify, decode, convert to RGB, make upright. Then

5. squash to ``size x size``, bicubic with antialiasing (Pillow's resize);
6. on the device, ``normalize``: ``(x / 255 - mean) / std``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from PIL import Image

from featcache.configuration import Configuration
from featcache.errors import ConfigError
from featcache.images.decode import decode, read_file
from featcache.images.measures import measure

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True, kw_only=True)
class Preprocessing(Configuration):
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
            stays as the decoder leaves it (gray for JPEG, black for others).
        max_pixels: Refuse images with more pixels (width times height, from the header).
    """

    _title: ClassVar[str] = "preprocessing"

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["squash"] = "squash"
    orientation: Literal["exif", "stored"] = "exif"
    truncated: Literal["refuse", "pad"] = "refuse"
    max_pixels: int = 178_956_970

    def __post_init__(self) -> None:
        """Check every field."""
        super().__post_init__()
        self._require_at_least(1, "size", "max_pixels")
        for name in ("mean", "std"):  # a model's config may say 0 and 1: one value, one digest
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        if min(self.std) <= 0:
            raise ConfigError(f"std must be positive, not {self.std}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from `to_dict`'s output; what an older cache does not have takes its default."""
        return cls.build(**values)


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """One image, ready for `normalize`, and what is recorded about its file.

    Attributes:
        pixels: uint8 array [3, S, S], RGB, contiguous.
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
    data = source if isinstance(source, bytes) else read_file(Path(source))
    rgb = decode(
        data,
        orientation=preprocessing.orientation,
        truncated=preprocessing.truncated,
        max_pixels=preprocessing.max_pixels,
    )
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


def normalize(pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Scale to 0..1, subtract the mean, divide by the standard deviation.

    Args:
        pixels: uint8 [B, 3, S, S], on any device.
        preprocessing: Whose mean and std are used.

    Returns:
        float32 [B, 3, S, S] on the same device.
    """
    import torch

    if pixels.dtype != torch.uint8:
        raise ValueError(f"normalize: expected uint8 pixels, found {pixels.dtype}")
    mean = torch.tensor(preprocessing.mean, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, device=pixels.device).view(1, 3, 1, 1)
    return pixels.to(torch.float32).div_(255).sub_(mean).div_(std)

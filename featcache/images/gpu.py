"""JPEG photos decoded, resized and measured on a GPU (``--decode gpu``).

torchvision's decoder (nvJPEG) takes what is most of any collection: whole JPEG files in color or
gray. What it does not take, Pillow decodes as always: other formats, CMYK, files that end early or
are damaged. Its pixels differ from Pillow's by a step or two of 255, so the choice is part of the
fingerprint.

A photo leaves the GPU again as the small square that the backbone reads, so the pipeline is the
same for all ways of decoding.
"""

from __future__ import annotations

import threading
import warnings
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from featcache.errors import ConfigError
from featcache.images.color import changes
from featcache.images.decode import TURNED, jpeg_header
from featcache.images.measures import Sums

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Transpose

DEVICES = ("cuda",)  # what can decode; tests add the CPU, for which torchvision has a decoder too

_END = b"\xff\xd9"  # marker at the end of a whole JPEG file
_BLOCK = 1 << 22  # pixels that are summed at once: 100 MB as float64

# Photos on the device at once: of 48 megapixels each takes 0.8 GB while it is resized, and the
# decoder works on one after the other anyway.
_room = threading.Semaphore(2)


class Resized(NamedTuple):
    """A photo, decoded and resized.

    Attributes:
        pixels: uint8 [3, H, W], resized, on the host.
        width: Of the upright original, in pixels.
        height: Likewise.
        measures: `featcache.images.measures.measure` of the upright original.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    measures: dict[str, float]


def decoder_on(device: torch.device | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what decodes the bytes of a JPEG file to [3, H, W] on a device.

    It is torchvision's decoder, which says since 0.29 that it will move to TorchCodec.

    Raises:
        ConfigError: The device cannot decode.
    """
    if device is None or device.type not in DEVICES:
        where = f", and this runs on {device}" if device else ""
        raise ConfigError(
            f"--decode gpu needs an NVIDIA GPU{where}: give --device cuda, or --decode scaled, "
            "which is quick on a processor"
        )
    # Not `warnings.catch_warnings`: it swaps state that all threads share.
    warnings.filterwarnings("ignore", r"The image decoding .* of TorchVision", DeprecationWarning)
    try:
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError as error:
        raise ConfigError(
            "--decode gpu: this version of torchvision has no JPEG decoder: install torchvision "
            "0.29, or give --decode scaled"
        ) from error
    return partial(decode_jpeg, mode=ImageReadMode.RGB, device=device)


def read_jpeg(
    data: bytes,
    *,
    device: torch.device | None,
    target: Callable[[int, int], tuple[int, int]],
    interpolation: str,
    upright: bool,
    max_pixels: int,
    managed: bool = False,
) -> Resized | None:
    """Decode and resize a JPEG file on a device.

    Args:
        data: The file's content.
        device: Where.
        target: Given width and height of the upright original, what they become.
        interpolation: ``bicubic`` or ``bilinear``, both with antialiasing.
        upright: Apply the EXIF orientation.
        max_pixels: Refuse images with more, before they are decoded.
        managed: Leave photos whose colors have to be converted to the processor.

    Returns:
        The photo, or None where the processor has to decode this file.

    Raises:
        ImageError: It is too large, or ``target`` refuses its size.
        ConfigError: The device cannot decode.
    """
    import torch

    decode = decoder_on(device)
    if not data.endswith(_END):
        return None
    header = jpeg_header(data, max_pixels)
    if header is None or (managed and changes(header.profile)):
        return None
    operation = header.operation if upright else None
    width, height = header.width, header.height
    if operation in TURNED:
        width, height = height, width
    across, down = target(width, height)
    stored = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    with _room:
        try:
            full = decode(stored)  # [3, H, W]
        except RuntimeError:
            return None  # a kind of JPEG that it does not know, or damage: Pillow says which
        full = _turn(full, operation)
        resized = torch.nn.functional.interpolate(
            full[None].float(), (down, across), mode=interpolation, antialias=True
        )  # [1, 3, h, w]
        pixels = resized[0].round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()  # [3, h, w]
        return Resized(pixels, width, height, _sums(full).measures())


def _turn(image: torch.Tensor, operation: Transpose | None) -> torch.Tensor:
    """Apply what Pillow calls a transposition to [3, H, W]."""
    from PIL.Image import Transpose

    flips: dict[Transpose | None, tuple[bool, tuple[int, ...]]] = {  # swap the axes, then flip
        None: (False, ()),
        Transpose.FLIP_LEFT_RIGHT: (False, (2,)),
        Transpose.FLIP_TOP_BOTTOM: (False, (1,)),
        Transpose.ROTATE_180: (False, (1, 2)),
        Transpose.TRANSPOSE: (True, ()),
        Transpose.TRANSVERSE: (True, (1, 2)),
        Transpose.ROTATE_90: (True, (1,)),  # counterclockwise
        Transpose.ROTATE_270: (True, (2,)),
    }
    swap, axes = flips[operation]
    image = image.transpose(1, 2) if swap else image
    return image.flip(axes) if axes else image


def _sums(image: torch.Tensor) -> Sums:
    """Sum R, G, B and their products over uint8 [3, H, W]; exact, as float64 holds the totals."""
    import torch

    flat = image.reshape(3, -1)  # [3, n]
    first = torch.zeros(3, dtype=torch.float64, device=image.device)
    second = torch.zeros(3, 3, dtype=torch.float64, device=image.device)
    for start in range(0, flat.shape[1], _BLOCK):
        block = flat[:, start : start + _BLOCK].double()  # [3, b]
        first += block.sum(dim=1)
        second += block @ block.T
    return Sums.of(flat.shape[1], first.tolist(), second.tolist())

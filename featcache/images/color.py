"""From the colors of an embedded ICC profile to sRGB, which is what backbones have learned from.

A photo of a phone is often stored in Display P3: the same numbers mean stronger colors there.
CLIP's own code reads the numbers as they are stored, and so does ``--color stored``. ``--color
srgb`` converts them, as a browser does, with Little CMS (Pillow's ``ImageCms``), relative to the
white point. A profile that cannot be read, or is of another kind of color than the pixels, counts
for nothing: the picture is there, and looks as it would without it.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any, cast

import numpy as np
from PIL import Image, ImageCms

LARGEST = 1 << 24  # bytes of a profile that is looked at

_KINDS = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # color space of a profile -> mode of Pillow
_STEP = 1  # of 255: a profile that changes no color by more is that of sRGB itself


def to_srgb(image: Image.Image) -> Image.Image | None:
    """Return a loaded image as RGB in sRGB; None where its numbers are sRGB as they are.

    Args:
        image: Of 8 bits a channel; its profile is ``image.info["icc_profile"]``. Alpha is dropped.
    """
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= LARGEST:
        return None
    mode, transform = _transform(profile)
    if transform is None or (mode == "CMYK") != (image.mode == "CMYK"):
        return None
    if mode == "L" and image.mode not in ("1", "L", "LA"):
        return None
    if image.mode in ("P", "PA"):  # a palette may have transparent colors
        image = image.convert("RGBA")
    return cast("Image.Image | None", transform.apply(image.convert(mode)))


def changes(profile: bytes | None) -> bool:
    """Tell whether a profile means other colors than sRGB."""
    if not profile or len(profile) > LARGEST:
        return False
    return _transform(profile)[1] is not None


@lru_cache(maxsize=32)
def _transform(profile: bytes) -> tuple[str, Any]:
    """Return the mode that a profile is for, and what converts it; None where nothing has to be."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _KINDS.get(str(source.profile.xcolor_space).strip(), "")
        if not mode:
            return "", None
        transform: Any = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return "", None
    return mode, None if _changes_nothing(mode, transform) else transform


def _changes_nothing(mode: str, transform: Any) -> bool:
    """Whether a grid of colors stays what it is."""
    if mode == "CMYK":
        return False
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    if mode == "L":
        before = np.arange(256, dtype=np.uint8)[None]  # [1, 256]
    else:
        before = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)  # [1, 17³, 3]
    image = Image.fromarray(before)
    after = np.asarray(transform.apply(image), np.int64)  # [1, n, 3]
    return bool(np.abs(after - np.asarray(image.convert("RGB"), np.int64)).max() <= _STEP)

"""Small pictures inside a page: each image once, as a CSS class with a data URL."""

from __future__ import annotations

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import Image

from featcache.datasets.base import safe_relative
from featcache.errors import DatasetError, ImageError
from featcache.images.preprocess import Preprocessing, read_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

SIDE = 96  # pixels; shown at up to this size

# Mean and deviation do not matter to a thumbnail; orientation and limits are those of extraction.
# It is stored without a profile, so its colors are sRGB.
_PREPROCESSING = Preprocessing(size=SIDE, mean=(0, 0, 0), std=(1, 1, 1), color="srgb")


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """Pictures for a page.

    Attributes:
        classes: Folder number and path of an image to its CSS class; an image that cannot be
            read is missing.
        jpegs: CSS class to the picture, JPEG in base64.
    """

    classes: Mapping[tuple[int, str], str] = field(default_factory=dict)
    jpegs: Mapping[str, str] = field(default_factory=dict)


def make_thumbnails(
    roots: Sequence[Path], images: Iterable[tuple[int, str]], *, workers: int = 4
) -> Thumbnails:
    """Make a picture of every image whose folder is given.

    Pictures are squashed to a square, as the backbone sees them.

    Args:
        roots: Folders of images, one per cache; there may be fewer than caches, or none.
        images: Number of the folder, and path below it. Two folders may hold the same path.
        workers: Threads.
    """
    wanted = [image for image in dict.fromkeys(images) if image[0] < len(roots)]

    def encode(image: tuple[int, str]) -> str | None:
        folder, path = image
        try:
            found = safe_relative(roots[folder], path)
            pixels = read_image(found, _PREPROCESSING).pixels  # [3, S, S]
        except (ImageError, DatasetError):
            return None  # the page shows the name in its place
        buffer = io.BytesIO()
        Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, "JPEG", quality=80)
        return base64.b64encode(buffer.getvalue()).decode()

    with ThreadPoolExecutor(workers) as pool:
        encoded = dict(zip(wanted, pool.map(encode, wanted), strict=True))
    classes = {image: f"i{n}" for n, image in enumerate(wanted) if encoded[image]}
    return Thumbnails(
        classes=classes, jpegs={name: encoded[image] or "" for image, name in classes.items()}
    )

"""Small pictures inside a page: each image once, as a CSS class with a data URL."""

from __future__ import annotations

import base64
import html
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from featcache.datasets.base import safe_relative
from featcache.errors import DatasetError, ImageError
from featcache.images.preprocess import Preprocessing, read_image

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SIDE = 96  # pixels; shown at up to this size

# Colors do not matter to a thumbnail; decoding, orientation and limits are those of extraction.
_PREPROCESSING = Preprocessing(size=SIDE, mean=(0, 0, 0), std=(1, 1, 1))


@dataclass(frozen=True, kw_only=True)
class Thumbnails:
    """Pictures for a page.

    Attributes:
        style: CSS rules, one per picture.
        classes: Path of an image to its CSS class; an image that cannot be read is missing.
    """

    style: str
    classes: dict[str, str]

    def picture(self, path: str) -> str:
        """Return an element that shows an image, or its name where there is no picture."""
        name = html.escape(path)
        if path in self.classes:
            return f'<span class="pic {self.classes[path]}" role="img" title="{name}"></span>'
        return f'<span class="pic none" title="{name}">{name}</span>'


def make_thumbnails(root: Path | None, paths: Iterable[str], *, workers: int = 4) -> Thumbnails:
    """Make a picture of every image below ``root``; none without a root.

    Pictures are squashed to a square, as the backbone sees them.
    """
    wanted = list(dict.fromkeys(paths))
    if root is None:
        return Thumbnails(style="", classes={})

    def encode(path: str) -> str | None:
        try:
            pixels = read_image(safe_relative(root, path), _PREPROCESSING).pixels  # [3, S, S]
        except (ImageError, DatasetError):
            return None  # the page shows the name in its place
        buffer = io.BytesIO()
        Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, "JPEG", quality=80)
        return base64.b64encode(buffer.getvalue()).decode()

    with ThreadPoolExecutor(workers) as pool:
        encoded = dict(zip(wanted, pool.map(encode, wanted), strict=True))
    classes = {path: f"i{n}" for n, path in enumerate(wanted) if encoded[path]}
    style = "\n".join(
        f".{name}{{background-image:url(data:image/jpeg;base64,{encoded[path]})}}"
        for path, name in classes.items()
    )
    return Thumbnails(style=style, classes=classes)

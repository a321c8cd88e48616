"""A page of heat maps: which patches raised a photo's score, or decided between two photos."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from adapter.pages.render import render
from featcache.images.decode import decode, read_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SIDE = 768  # pixels of the longer side
MAX_PIXELS = 178_956_970
WARM, COLD = (255, 90, 0), (0, 110, 255)
STRENGTH = 0.65  # of the color where a map is 1


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """A photo with its map over it.

    Attributes:
        caption: What it shows.
        jpeg: The picture, JPEG in base64.
    """

    caption: str
    jpeg: str


def heat_map(photo: Path, values: Sequence[float], side: int, caption: str) -> HeatMap:
    """Draw a map of side² numbers, -1 to 1, over a photo in the photo's own shape.

    Raises:
        ImageError: The photo cannot be read.
    """
    image = decode(
        read_file(photo),
        orientation="exif",
        truncated="pad",
        max_pixels=MAX_PIXELS,
        color="srgb",
    ).rgb
    image.thumbnail((SIDE, SIDE))
    grid = np.clip(np.asarray(values, np.float64).reshape(side, side), -1, 1)  # [S, S]
    color = np.where(grid[..., None] > 0, WARM, COLD).astype(np.uint8)  # [S, S, 3]
    shade = Image.fromarray(np.round(255 * STRENGTH * np.abs(grid)).astype(np.uint8))
    nearest = Image.Resampling.NEAREST
    image.paste(
        Image.fromarray(color).resize(image.size, nearest), mask=shade.resize(image.size, nearest)
    )
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return HeatMap(caption=caption, jpeg=base64.b64encode(buffer.getvalue()).decode())


def why_page(
    title: str,
    photos: Sequence[tuple[str, Path]],
    found: Mapping[str, Any],
    made_of: Mapping[str, str],
    *,
    banner: str = "",
) -> str:
    """Return the page.

    Args:
        title: The sentence.
        photos: Name and file of one photo, or of two.
        found: What ``adapter.explain.maps.explain`` says of them.
        made_of: What made it.
        banner: What a reader must know before anything else.
    """
    titles = {
        "score": (0, "what raised the score of"),
        "looked": (0, "where the relational tokens looked in"),
        "first": (0, "what was in favor of"),
        "second": (1, "what was in favor of"),
    }
    maps = [
        heat_map(photos[at][1], found[name], found["side"], f"{words} {photos[at][0]}")
        for name, (at, words) in titles.items()
        if found.get(name) is not None
    ]
    lead = ""
    if "logit" in found:
        better = photos[0 if found["logit"] > 0 else 1][0]
        lead = f"In the comparison, {better} wins (logit {found['logit']:.2f})."
    return render("why.html.j2", title=title, lead=lead, maps=maps, made_of=made_of, banner=banner)

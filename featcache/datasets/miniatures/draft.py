"""A folder that is being drawn: pictures and tables, each written under its publishers' name."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

# Fine noise is a label here: it must outlive the compression.
_JPEG = {"quality": 95, "subsampling": 0}


class Draft:
    """Files of a miniature, and where its random numbers come from.

    Args:
        root: An existing folder.
        seed: Of all pictures; one of `featcache.datasets.scenes.seeds.MINIATURES`.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = root, seed

    def rng(self, index: int) -> np.random.Generator:
        """Return the random numbers of one picture: they depend on no other picture."""
        return np.random.default_rng([self.seed, index])

    def picture(self, path: str, pixels: NDArray[np.uint8]) -> None:
        """Write uint8 [H, W, 3]; the suffix tells the format, in any case of letters."""
        from PIL import Image

        form = path.rsplit(".", 1)[1].lower().replace("jpg", "jpeg")
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, form, **(_JPEG if form == "jpeg" else {}))
        self.content(path, content.getvalue())

    def content(self, path: str, content: bytes) -> None:
        """Write bytes."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def lines(self, path: str, lines: Iterable[str]) -> None:
        """Write lines of text."""
        self.content(path, "".join(f"{line}\n" for line in lines).encode())

    def table(
        self, path: str, header: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = ","
    ) -> None:
        """Write a table with a header."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerows([header, *rows])
        self.content(path, text.getvalue().encode())

    def json(self, path: str, value: Any) -> None:
        """Write a JSON document, compact as data sets have them."""
        self.content(path, json.dumps(value, allow_nan=False).encode())

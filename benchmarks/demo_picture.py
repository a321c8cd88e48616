"""The README's picture, from what `make demo` has written: ``python benchmarks/demo_picture.py``.

It reads ``demo/run/report.json`` and the images, and draws the report's first screen: three
queries, and of each the highest, the middle and the lowest images with their true values.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from featcache.storage.durable import make_folders, write_bytes

PARTS = ("highest", "middle", "lowest")
SIDE, GAP, SPACE, MARGIN = 80, 5, 26, 18  # of a picture; between pictures, parts; around all
ROW = 20 + 16 + SIDE + 18  # query, part, picture, value
INK, SOFT, PAPER = (28, 32, 36), (96, 102, 109), (255, 255, 255)


def draw(report: dict, images: Path) -> Image.Image:
    """Draw the first screen of a report's JSON."""
    rows = report["first_screen"]
    each = max(len(row[part]) for row in rows for part in PARTS)
    part_width = each * SIDE + (each - 1) * GAP
    width = 2 * MARGIN + len(PARTS) * part_width + (len(PARTS) - 1) * SPACE
    picture = Image.new("RGB", (width, 2 * MARGIN + len(rows) * (ROW + 14) - 14), PAPER)
    pen = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(16), ImageFont.load_default(13)
    for number, row in enumerate(rows):
        top = MARGIN + number * (ROW + 14)
        pen.text((MARGIN, top), row["query"], INK, large)
        agreement = f"SRCC {row['srcc']:.2f}"
        pen.text((width - MARGIN, top), agreement, SOFT, small, anchor="ra")
        for place, part in enumerate(PARTS):
            left = MARGIN + place * (part_width + SPACE)
            pen.text((left, top + 20), part, SOFT, small)
            for found in row[part]:
                with Image.open(images / found["path"]) as image:
                    tile = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
                picture.paste(tile, (left, top + 36))
                true = f"{found['true']:.3g}"
                pen.text((left + SIDE / 2, top + 36 + SIDE + 2), true, INK, small, anchor="ma")
                left += SIDE + GAP
    return picture


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Draw the README's picture from the demo.")
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="of `make demo` [demo]")
    parser.add_argument("--out", type=Path, default=Path("docs/images/demo.jpg"))
    options = parser.parse_args()
    report = json.loads((options.demo / "run" / "report.json").read_text("utf-8"))
    buffer = io.BytesIO()
    picture = draw(report, options.demo / "images")
    picture.save(buffer, "JPEG", quality=90, subsampling=0, optimize=True)
    make_folders(options.out.parent)
    write_bytes(options.out, buffer.getvalue())
    print(f"{options.out}: {len(buffer.getvalue()):,} bytes")


if __name__ == "__main__":
    main()

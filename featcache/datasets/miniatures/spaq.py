"""SPAQ in small: scenes in which five attributes vary, with a workbook of scores."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from featcache.datasets.miniatures.pictures import DEFECTS, scene
from featcache.datasets.scenes import Look
from featcache.datasets.spaq import ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from featcache.datasets.miniatures.draft import Draft

IMAGES, FEWEST, MOST = 100, 10, 11_125
BOOK = "Annotations/MOS and Image attribute scores.xlsx"

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_SHEETS = "application/vnd.openxmlformats-officedocument.spreadsheetml"
# What an .xlsx file needs beside its sheet (ECMA-376, part 1, 11 and 12; part 2).
_FRAME = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_SHEETS}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_SHEETS}.worksheet+xml"/>'
    "</Types>",
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
    f'Type="{_LINKS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_LINKS}"><sheets>'
    '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship '
    f'Id="rId1" Type="{_LINKS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}


def draw(draft: Draft, name: str, images: int) -> dict[str, str]:
    """Draw ``images`` photos and the workbook."""
    del name
    rows: list[Sequence[Any]] = []
    for number in range(images):
        rng = draft.rng(number)
        bright, vivid, contrast, clean, sharp = rng.random(5).tolist()
        look = Look(
            exposure=0.4 + 1.2 * bright,
            saturation=1.6 * vivid,
            contrast=0.4 + 0.8 * contrast,
            noise=DEFECTS["noise"] * (1 - clean),
            blur=DEFECTS["blur"] * (1 - sharp),
        )
        file = f"{number + 1:05d}.jpg"
        draft.picture(f"TestImage/{file}", scene(rng, look))
        quality = 0.4 * clean + 0.4 * sharp + 0.1 * vivid + 0.1 * contrast
        scores = (quality, bright, vivid, contrast, clean, sharp)
        rows.append((file, *(round(100 * score, 2) for score in scores)))
    draft.content(BOOK, workbook([("Image name", "MOS", *ATTRIBUTES), *rows]))
    return {}


def workbook(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return rows of texts and numbers as an .xlsx workbook; the same rows give the same bytes."""
    lines = []
    for line, row in enumerate(rows, start=1):
        cells = [
            f'<c r="{chr(ord("A") + place)}{line}" {_cell(value)}</c>'
            for place, value in enumerate(row)
        ]
        lines.append(f'<row r="{line}">{"".join(cells)}</row>')
    sheet = f'<worksheet xmlns="{_MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, xml in {**_FRAME, "xl/worksheets/sheet1.xml": sheet}.items():
            info = zipfile.ZipInfo(name)  # of 1980: the time of writing is no part of the content
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, f'<?xml version="1.0" encoding="UTF-8"?>{xml}')
    return content.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return f't="inlineStr"><is><t>{escape(value)}</t></is>'
    return f"><v>{value}</v>"

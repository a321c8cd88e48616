"""Drawing a figure: compute its cells, or read those of the tables, and make a page.

    drawing = draw(load_figure("figure5"), data, out, backbone)

out/figures/figure5.html
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapter.figures import looks, rankings, spreads
from adapter.figures.elements import Materials, Pictures, Section
from adapter.pages.render import render
from adapter.pages.thumbnails import make_thumbnails
from adapter.reproduction import figure as kinds
from adapter.reproduction.options import Event, Options
from adapter.reproduction.reproduce import reproduce
from adapter.reproduction.wording import footnotes
from featcache.datasets.stand_in import NOTICE
from featcache.storage.durable import make_folders, write_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter.reproduction.figure import Figure
    from featcache.backbone import BackboneSpec

MAKERS: dict[type, Callable[[Any, Materials], list[Section]]] = {
    kinds.Strips: rankings.strips,
    kinds.Relevance: rankings.relevance,
    kinds.Categories: rankings.categories,
    kinds.Wishes: rankings.wishes,
    kinds.Attributes: looks.attributes,
    kinds.Variations: looks.variations,
    kinds.Pairs: looks.pairs,
    kinds.Distributions: spreads.distributions,
    kinds.Sampling: spreads.sampling,
    kinds.Spaces: spreads.spaces,
}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How it ended.

    Attributes:
        file: The page; None where data are missing.
        missing: Per data set that is not there, what to download and where to put it.
        failed: What could not be computed and why.
    """

    file: Path | None
    missing: tuple[str, ...]
    failed: tuple[str, ...]


def draw(
    figure: Figure,
    data: str | Path,
    out: str | Path,
    backbone: BackboneSpec,
    options: Options | None = None,
    *,
    quick: bool = False,
    pairs: tuple[Path, Path] | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Drawing:
    """Draw a figure.

    Args:
        figure: Which.
        data: Folder that holds the data sets.
        out: Folder of caches and cells, which may be that of the tables, and of the page.
        backbone: Makes the features.
        options: How.
        quick: Few steps, to see in a minute whether it works.
        pairs: Two folders with the same file names, for a figure of pairs.
        on_event: Told what happens.

    Raises:
        ConfigError: The figure needs something that was not given.
        KeyboardInterrupt: A signal stopped the run.
    """
    recipe = figure.recipe.to_quick() if quick else figure.recipe
    options = replace(options or Options(), write=False)
    result = reproduce([recipe], data, out, backbone, options, on_event)
    if result.missing or result.failed:
        return Drawing(file=None, missing=result.missing, failed=result.failed)

    def show(done: int, total: int) -> None:
        on_event(Event(kind="extract", text=figure.title, done=done, total=total))

    table = result.tables[0]
    pictures = Pictures()
    materials = Materials(
        results=table, tasks=result.tasks, pictures=pictures, pairs=pairs, on_progress=show
    )
    sections = MAKERS[type(figure.kind)](figure.kind, materials)
    doc = table.to_dict()
    file = Path(out) / "figures" / f"{figure.name}{'-quick' if quick else ''}.html"
    make_folders(file.parent)
    images = [
        (tile.folder, tile.path) for s in sections for strip in s.strips for tile in strip.tiles
    ]
    write_text(
        file,
        render(
            "figure.html.j2",
            title=figure.title,
            lead=f"After {figure.source}, on the images at hand",
            banners=banners(doc),
            sections=sections,
            notes=[*figure.notes, *footnotes(doc)[2:]],
            thumbnails=make_thumbnails(pictures.roots, images),
        ),
    )
    return Drawing(file=file, missing=(), failed=())


def banners(doc: dict[str, Any]) -> list[str]:
    """Say at the top what nobody may overlook."""
    found = ["A quick check: a few steps of learning."] if doc["quick"] else []
    if doc["stand_in"]:
        found.append(NOTICE)
    return found

"""What `adapter rank` ranks by, and the page, the table and the explanation that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.console import say
from cli.evaluate import parse_opponents
from cli.progress import working

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from adapter.evaluation.ranking import Ranking
    from adapter.methods.ranker import Ranker
    from adapter.takeaway.table import OrderTable
    from cli.progress import Progress
    from cli.takeaway import TakeAway
    from featcache.reading.cache import Cache


def run_of(source: str | None) -> Path | None:
    """Return the folder of a run; one that was published is fetched first."""
    from featcache.storage.layout import is_address

    if source is None or not is_address(source):
        return Path(source) if source is not None else None
    from adapter.publishing.publish import fetch

    with working(f"fetching {source}"):
        return fetch(source)


def write_why(
    ranker: Ranker, cache: Cache, photos: list[str], root: Path | None, out: Path | None
) -> None:
    """Write the page of what spoke for a photo, or for each of two."""
    from adapter.data.comparisons import image_rows
    from adapter.errors import ConfigError
    from adapter.explain.maps import explain
    from adapter.methods.ranker import RunRanker
    from adapter.pages.why import why_page
    from featcache.datasets.paths import safe_relative
    from featcache.datasets.stand_in import NOTICE
    from featcache.storage.durable import write_text

    if not isinstance(ranker, RunRanker):
        raise ConfigError("--why shows what a trained adapter looked at: give a run and --query")
    if out is None or out.suffix != ".html" or root is None or len(photos) > 2:
        raise ConfigError(
            "--why PHOTO, once or twice, needs --out PAGE.html and --root or --images"
        )
    rows = image_rows(cache, photos)
    if (rows < 0).any():
        missing = photos[int((rows < 0).argmax())]
        raise ConfigError(f"{missing}: not in {cache.path}; give the image's path below {root}")
    found = explain(ranker.run, cache, ranker.query, *rows.tolist())
    files = [(photo, safe_relative(root, photo)) for photo in photos]
    made_of = {"run": str(ranker.run.folder), "images": str(root)}
    banner = NOTICE if cache.stand_in or ranker.stand_in else ""
    write_text(out, why_page(ranker.query, files, found, made_of, banner=banner))
    say(f"written to {out}")


def counting(display: Progress, total: int) -> Callable[[int], None]:
    """Return what counts the images that are ranked."""
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        display.show("ranking", done, total, unit="images")

    count(0)
    return count


def rankers_of(
    run: Path | None, queries: list[str], by: str, opponents: str, precision: str
) -> list[Ranker]:
    """Return what ranks: a run with each query, or a fitted method with its own."""
    from adapter.errors import ConfigError
    from adapter.methods.fitted import Fitted, is_fitted
    from adapter.methods.ranker import FittedRanker, RunRanker
    from adapter.stored import StoredRun

    if run is None:
        raise ConfigError(
            "give the folder of a run, or opposite prompts: --antonyms HIGH LOW, --attribute NAME"
        )
    if is_fitted(run):
        fitted = Fitted.load(run)
        if set(queries) - {fitted.query}:
            raise ConfigError(
                f"{run} was fitted to {fitted.query!r} and can rank only by that; leave out --query"
            )
        return [FittedRanker(fitted=fitted)]
    if not queries:
        raise ConfigError("give --query, what to sort by")
    if len(set(queries)) < len(queries):
        raise ConfigError("a --query is given twice")
    trained = StoredRun.load(run)
    for query in queries:
        if note := trained.about_query(query):
            say(f"note: {note}")
    return [
        RunRanker(
            run=trained,
            query=query,
            by=by,  # type: ignore[arg-type]  # checked
            opponents=parse_opponents(opponents),
            precision=precision,  # type: ignore[arg-type]  # checked by the library
            more=tuple(queries),
        )
        for query in queries
    ]


def gallery_of(root: Path | None, ranking: Ranking, run: Path | None, banner: str) -> str:
    """Return the page of an order, with small pictures."""
    from adapter.pages.page import gallery_page
    from adapter.pages.thumbnails import make_thumbnails

    return gallery_page(
        ranking.query,
        ranking.paths,
        ranking.scores,
        {"run": str(run or "opposite prompts"), "images": str(root or "from a cache")},
        make_thumbnails([root] if root else [], [(0, path) for path in ranking.paths]),
        banner=banner,
    )


def table_of(
    ranking: Ranking, shares: dict[str, NDArray[np.float64]], take: TakeAway, top: int | None
) -> OrderTable:
    """Return the ranking as a table: of several wishes, what each contributed; stars."""
    from adapter.takeaway.table import OrderTable

    more: dict[str, list[float | int | str | None]] = {
        name: share[:top].tolist() for name, share in shares.items()
    }
    if take.stars is not None:
        more["stars"] = list(take.ratings(ranking)[:top])
    first = ranking.first(top)
    return OrderTable(paths=first.paths, scores=first.scores.tolist(), more=more)

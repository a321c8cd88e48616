"""Carrying an order away: what `adapter rank` does to files, and `adapter undo`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import command, say
from featcache.wording import quantity

if TYPE_CHECKING:
    from adapter.evaluation.ranking import Ranking
    from adapter.takeaway.folder import How, Placed
    from adapter.takeaway.sidecars import SidecarChange, Spelling

SHOWN = 10  # files of a plan that are shown


@dataclass(frozen=True, kw_only=True)
class TakeAway:
    """What the options ask for.

    Attributes:
        top: How many photos; all when None.
        link: Folder for links named by place.
        copy: The same for copies.
        move: The same for the photos themselves.
        xmp: Whether sidecars are written.
        spelling: Of sidecars that are made.
        embed: Whether JPEG files get the marks too.
        stars: Rule of the ratings, such as 5:95,4:85.
        label: Label of the photos.
        keywords: Keywords of the photos.
        dry_run: Show, and do nothing.
        yes: Move without asking.
        log: Where to write what is done.
    """

    top: int | None = None
    link: Path | None = None
    copy: Path | None = None
    move: Path | None = None
    xmp: bool = False
    spelling: Spelling = "full"
    embed: bool = False
    stars: str | None = None
    label: str | None = None
    keywords: tuple[str, ...] = ()
    dry_run: bool = False
    yes: bool = False
    log: Path | None = None

    def __post_init__(self) -> None:
        """Refuse options that contradict each other."""
        from adapter.errors import ConfigError
        from adapter.takeaway.stars import StarRule

        if sum(folder is not None for folder in (self.link, self.copy, self.move)) > 1:
            raise ConfigError("give one of --link, --copy and --move")
        if self.top is not None and self.top < 1:
            raise ConfigError(f"--top {self.top}: expected at least 1")
        marked = self.stars is not None or self.label is not None or self.keywords
        if (self.xmp or self.embed) and not marked:
            raise ConfigError("--xmp and --embed write --stars, --label or --keyword; give one")
        if (self.label is not None or self.keywords) and not (self.xmp or self.embed):
            raise ConfigError("--label and --keyword go into --xmp sidecars, or --embed")
        if self.stars is not None:
            StarRule.parse(self.stars)
        if self.spelling not in ("full", "stem"):
            raise ConfigError(
                f"--sidecar must be full (a.jpg.xmp) or stem (a.xmp), not {self.spelling!r}"
            )

    @property
    def folder(self) -> tuple[How, Path] | None:
        """How photos go where, if they do."""
        if self.link is not None:
            return "link", self.link
        if self.copy is not None:
            return "copy", self.copy
        return None if self.move is None else ("move", self.move)

    @property
    def touches_files(self) -> bool:
        """Whether anything but a table is written."""
        return self.folder is not None or self.xmp or self.embed

    def ratings(self, ranking: Ranking) -> list[int | None]:
        """Return the rating of each photo of a ranking."""
        from adapter.evaluation.wishes import percentiles
        from adapter.takeaway.stars import StarRule

        if self.stars is None:
            return [None] * len(ranking.paths)
        return StarRule.parse(self.stars).ratings(percentiles(ranking.scores))


def take_away(options: TakeAway, root: Path | None, ranking: Ranking) -> None:
    """Show or do what was asked for; every change is in a log before it is made."""
    from adapter.errors import ConfigError
    from adapter.takeaway.embedding import plan_embedding, write_embedded
    from adapter.takeaway.folder import carry_out, plan_folder
    from adapter.takeaway.log import ActionLog
    from adapter.takeaway.sidecars import plan_sidecars, write_sidecars
    from adapter.takeaway.xmp import Marks
    from featcache.datasets.paths import safe_relative

    if not options.touches_files:
        return
    if root is None:
        raise ConfigError("the folder of the photos is needed: --root DIR, or --images DIR")
    paths = ranking.paths[: options.top]
    marks = {
        safe_relative(root, path): Marks(
            rating=rating, label=options.label, keywords=options.keywords
        )
        for path, rating in zip(paths, options.ratings(ranking), strict=False)
    }
    changes = plan_sidecars(marks, options.spelling) if options.xmp else []
    embedded = plan_embedding(marks) if options.embed else []
    folder = options.folder
    placed = plan_folder(root, paths, folder[1], ranking.paths) if folder else []
    _show(folder[0] if folder else "link", placed, changes, [photo for photo, _ in embedded])
    if options.dry_run:
        say("nothing was done (--dry-run)")
        return
    if options.move is not None and not options.yes:
        if not sys.stdin.isatty():
            raise ConfigError(
                "moving photos must be confirmed: look at --dry-run first, then add --yes"
            )
        typer.confirm(
            f"move {quantity(len(placed), 'file')} to {options.move}?", abort=True, err=True
        )
    name = f"takeaway-{datetime.now(UTC):%Y%m%d-%H%M%S}.jsonl"
    with ActionLog(options.log or Path(name)) as log:
        count = write_sidecars(changes, log) + write_embedded(embedded, log)
        if folder:
            count += carry_out(placed, folder[0], log)
    say(f"{quantity(count, 'file')} written; to undo it: {command('adapter', 'undo', log.path)}")


def _show(
    how: How, placed: list[Placed], changes: list[SidecarChange], embedded: list[Path]
) -> None:
    """Say what is about to be done."""
    if placed:
        say(f"{how}: {quantity(len(placed), 'file')}")
        _first([f"{p.source} -> {p.target}" for p in placed])
    for title, found in (
        ("new sidecars", [c.path for c in changes if c.old is None]),
        ("changed sidecars", [c.path for c in changes if c.old is not None]),
        ("photos with marks embedded", embedded),
    ):
        if found:
            say(f"{title}: {len(found):,}")
            _first([str(path) for path in found])


def _first(lines: list[str]) -> None:
    for line in lines[:SHOWN]:
        say(f"  {line}")
    if len(lines) > SHOWN:
        say(f"  … and {len(lines) - SHOWN:,} more")


def undo(
    log: Annotated[Path, typer.Argument(help="The list of changes that `adapter rank` wrote.")],
) -> None:
    """Undo what `adapter rank` did to files: links, copies, moves, sidecars.

    Files that somebody has changed since then stay as they are, and are listed.

    **Example**

    `adapter undo takeaway-20261128-101500.jsonl`
    """
    from adapter.takeaway.log import undo as run

    done = run(log)
    say(f"{quantity(done.count, 'action')} undone")
    for path, reason in done.left.items():
        say(f"  not undone: {path}: {reason}")
    if done.left:
        raise typer.Exit(1)

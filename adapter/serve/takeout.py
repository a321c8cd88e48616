"""Taking an order away from the page: a plan first, which then has to be confirmed as it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from adapter.errors import ConfigError
from adapter.takeaway.folder import carry_out, plan_folder
from adapter.takeaway.log import ActionLog
from adapter.takeaway.sidecars import plan_sidecars, write_sidecars
from featcache.storage.fingerprint import digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from adapter.serve.library import Library
    from adapter.takeaway.xmp import Marks

Kind = Literal["link", "copy", "move", "xmp"]
SHOWN = 20  # files of a plan that the page shows


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be done.

    Attributes:
        token: Digest of all of it; a plan is carried out when this is sent back.
        count: Files that would be written.
        lines: The first of them, for people.
        log: Where it was written down, once done.
    """

    token: str
    count: int
    lines: Sequence[str]
    log: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "token": self.token,
            "count": self.count,
            "lines": list(self.lines),
            "log": self.log,
        }


def take_out(
    library: Library,
    kind: Kind,
    rows: Sequence[int],
    marks: Sequence[Marks],
    folder: Path,
    confirm: str | None,
) -> Plan:
    """Plan, or carry out the plan that was confirmed.

    Args:
        library: The photos.
        kind: What to do.
        rows: Photos, the first place first.
        marks: Their marks, for ``xmp``.
        folder: A new folder for links, copies and moves, and for the log.
        confirm: ``token`` of the plan; None plans alone.

    Raises:
        ConfigError: There is no folder of photos, a photo is not there, or what was confirmed is
            not what would be done now.
        XmpError: A sidecar is no XMP; nothing is written.
    """
    if library.root is None:
        raise ConfigError("the page was started without --root, so there are no files to take")
    if kind == "xmp":
        files = [library.file(row) for row in rows]
        changes = plan_sidecars(dict(zip(files, marks, strict=True)))
        lines = [str(change.path) for change in changes]
        content: list[Any] = [[str(c.path), c.new.hex()] for c in changes]
    else:
        chosen = [library.paths[row] for row in rows]
        placed = plan_folder(library.root, chosen, folder / "photos", library.paths)
        lines = [f"{p.source} -> {p.target}" for p in placed]
        content = [[str(p.source), str(p.target)] for p in placed]
    token = digest({"kind": kind, "content": content})
    plan = Plan(token=token, count=len(lines), lines=lines[:SHOWN])
    if confirm is None:
        return plan
    if confirm != token:
        raise ConfigError("the plan has changed since it was shown; look at it again")
    log = folder / f"log-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.jsonl"
    with ActionLog(log) as actions:
        if kind == "xmp":
            write_sidecars(changes, actions)
        else:
            carry_out(placed, kind, actions)
    return Plan(token=token, count=plan.count, lines=plan.lines, log=str(log))

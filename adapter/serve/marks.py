"""Stars and flags of photos, and undoing them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from adapter.errors import ConfigError

if TYPE_CHECKING:
    from adapter.serve.journal import Journal

Flag = Literal["pick", "reject", "none"]
FLAGS = ("pick", "reject", "none")


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What a person says of a photo.

    Attributes:
        stars: 0 to 5.
        flag: Picked, rejected, or neither.
    """

    stars: int = 0
    flag: Flag = "none"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"stars": self.stars, "flag": self.flag}


class MarkBook:
    """The marks of all photos, in a journal.

    Args:
        journal: Where they are kept.
        before: Marks that were read from sidecars, by sample id; the journal has the last word.
    """

    def __init__(self, journal: Journal, before: dict[str, Mark] | None = None) -> None:
        self._journal = journal
        self.marks: dict[str, Mark] = dict(before or {})
        self._undo: list[tuple[str, Mark]] = []
        for event in journal.events:
            self._apply(event)

    def of(self, sample: str) -> Mark:
        """Return a photo's mark."""
        return self.marks.get(sample, Mark())

    def set(self, sample: str, *, stars: int | None = None, flag: Flag | None = None) -> Mark:
        """Set stars, a flag, or both.

        Raises:
            ConfigError: There are no such stars or flags.
        """
        if stars is not None and not 0 <= stars <= 5:
            raise ConfigError(f"stars go from 0 to 5, not {stars}")
        if flag is not None and flag not in FLAGS:
            raise ConfigError(f"flags are {', '.join(FLAGS)}, not {flag!r}")
        old = self.of(sample)
        new = Mark(
            stars=old.stars if stars is None else stars, flag=old.flag if flag is None else flag
        )
        self._say({"kind": "mark", "sample": sample, **new.to_dict()})
        return new

    def undo(self) -> str | None:
        """Take the last mark back; returns whose, None where there is nothing to undo."""
        if not self._undo:
            return None
        sample = self._undo[-1][0]
        self._say({"kind": "undo"})
        return sample

    def _say(self, event: dict[str, Any]) -> None:
        self._journal.append(event)
        self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        if event["kind"] == "undo":
            sample, old = self._undo.pop()
            self.marks[sample] = old
            return
        sample = event["sample"]
        self._undo.append((sample, self.of(sample)))
        self.marks[sample] = Mark(stars=event["stars"], flag=event["flag"])

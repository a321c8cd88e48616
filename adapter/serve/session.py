"""All that one page holds: photos, runs, marks, answers, and the folder where they are kept."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from adapter.errors import ConfigError
from adapter.methods.antonyms import ATTRIBUTES
from adapter.serve.answers import AnswerBook
from adapter.serve.engine import Engine
from adapter.serve.journal import Journal
from adapter.serve.library import LARGE, Library
from adapter.serve.marks import MarkBook
from adapter.serve.teacher import Teacher
from adapter.serve.views import Views
from featcache.wording import quantity

if TYPE_CHECKING:
    from pathlib import Path

    from adapter.stored import StoredRun
    from featcache.reading.cache import Cache


class Session:
    """One page's content.

    Attributes:
        library: The photos.
        engine: Scores them.
        marks: Stars and flags.
        teacher: Asks and learns.
        views: Orders.
        lock: Held while something is said, so that journals are written one line at a time.
        notes: What a person should know when the page opens.
    """

    def __init__(
        self,
        library: Library,
        engine: Engine,
        marks: MarkBook,
        teacher: Teacher,
        folder: Path,
        notes: list[str],
    ) -> None:
        self.library, self.engine, self.marks = library, engine, marks
        self.teacher, self.notes = teacher, notes
        self.views = Views(library, engine, marks)
        self.lock = threading.RLock()
        self._folder = folder
        self._journals: list[Journal] = []

    @classmethod
    def open(
        cls,
        cache: Cache,
        root: Path | None,
        runs: dict[str, StoredRun],
        folder: Path,
        thumbnails: Path,
        *,
        device: str = "auto",
        backbone: dict[str, str] | None = None,
    ) -> Self:
        """Open what is kept in ``folder``, or begin.

        Args:
            cache: Features of the photos.
            root: Their folder; None where only features are there.
            runs: Name to trained run.
            folder: Where marks, answers, heads and exports of this cache are kept.
            thumbnails: Where small pictures are kept.
            device: Where to compute.
            backbone: Fields of the backbone that differ here.

        Raises:
            FingerprintMismatchError: A run is of other features.
            JournalError: What is kept is damaged.
            ConfigError: ``root`` is not there.
        """
        if root is not None and not root.is_dir():
            raise ConfigError(f"{root}: no such folder")
        for run in runs.values():
            run.require_features(cache)
        library = Library(
            cache=cache, root=root, thumbnails=thumbnails, dates=folder / "dates.json"
        )
        engine = Engine(library, runs, device=device, backbone=backbone)
        before, problems = library.sidecar_marks()
        said, answered = Journal(folder / "marks.jsonl"), Journal(folder / "answers.jsonl")
        teacher = Teacher(engine, AnswerBook(answered), folder / "head")
        notes = []
        if problems:
            unread = quantity(len(problems), "sidecar")
            notes.append(f"{unread} could not be read, such as {problems[0]}")
        if root is None:
            notes.append("started without --root: there are names and scores, but no pictures")
        if not runs:
            notes.append(
                "no run: sentences, and pairs of opposite ones, are ranked by the similarity of "
                "text and image, which needs a CLIP whose towers were trained together; teaching "
                "works with any backbone"
            )
        if not cache.shapes.num_tokens:
            notes.append("the cache holds pooled embeddings alone: no heads, and no maps of why")
        session = cls(library, engine, MarkBook(said, before), teacher, folder, notes)
        session._journals = [said, answered]
        return session

    def close(self) -> None:
        """Close the journals."""
        for journal in self._journals:
            journal.close()

    def state(self) -> dict[str, Any]:
        """Return what the page needs when it opens."""
        return {
            "name": self.library.cache.name,
            "photos": len(self.library),
            "pictures": self.library.root is not None,
            "folders": self.library.folders[:2000],
            "runs": [
                {"name": name, "queries": list(run.queries[:100])}
                for name, run in self.engine.runs.items()
            ],
            "questions": list(dict.fromkeys(a.question for a in self.teacher.book.answers))[:50],
            "opposites": [list(pair) for pair in ATTRIBUTES.values()],
            "notes": self.notes,
        }

    def rating(self, row: int) -> int | None:
        """Return the rating that a photo's mark stands for; None where nothing was said."""
        mark = self.marks.of(self.library.samples[row])
        if mark.flag == "reject":
            return -1
        return mark.stars or None

    def large(self, row: int) -> bytes:
        """Return a photo as large as a screen."""
        return self.library.picture(row, LARGE)

    def exports(self) -> Path:
        """Return the folder of the next export; numbered, so that none is written twice."""
        number = 1
        while (self._folder / "exports" / f"{number:04d}").exists():
            number += 1
        return self._folder / "exports" / f"{number:04d}"

"""Answers to "which fits better?", kept as they come."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from adapter.data.comparisons import COLUMNS, SHARES, ComparisonTable
from adapter.errors import ConfigError

if TYPE_CHECKING:
    from adapter.serve.journal import Journal


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer.

    Attributes:
        left: Sample id of the left photo.
        right: Of the right one.
        answer: ``left``, ``right``, ``equal``, or ``skip``.
        question: What was asked.
        drawn: Why these two: ``random`` or ``active``.
    """

    left: str
    right: str
    answer: str
    question: str
    drawn: str


class AnswerBook:
    """All answers, in a journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.answers: list[Answer] = []
        for event in journal.events:
            self._apply(event)

    def add(self, answer: Answer) -> None:
        """Keep an answer; it is on the disk when this returns.

        Raises:
            ConfigError: There is no such answer.
        """
        if answer.answer not in (*SHARES, "skip"):
            raise ConfigError(f"answers are left, right, equal or skip, not {answer.answer!r}")
        if answer.left == answer.right:
            raise ConfigError("a photo is not compared with itself")
        self._say({"kind": "answer", **asdict(answer)})

    def undo(self) -> Answer | None:
        """Take the last answer back; None where there is none."""
        if not self.answers:
            return None
        last = self.answers[-1]
        self._say({"kind": "undo"})
        return last

    def of(self, question: str) -> list[Answer]:
        """Return the answers to a question, skipped pairs included."""
        return [a for a in self.answers if a.question == question]

    def table(self, question: str | None = None, drawn: str | None = None) -> ComparisonTable:
        """Return answers as the trainer takes them: without skipped pairs, in their order."""
        return ComparisonTable.of(
            [
                (a.left, a.right, a.answer, a.question)
                for a in self.answers
                if a.answer != "skip"
                and question in (None, a.question)
                and drawn in (None, a.drawn)
            ],
            str(self._journal.path),
        )

    def to_csv(self) -> str:
        """Return all answers as the file that ``adapter train --comparisons`` reads."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            (a.left, a.right, a.answer, a.question) for a in self.answers if a.answer != "skip"
        )
        return text.getvalue()

    def _say(self, event: dict[str, str]) -> None:
        self._journal.append(event)
        self._apply(event)

    def _apply(self, event: dict[str, str]) -> None:
        if event["kind"] == "undo":
            self.answers.pop()
        else:
            self.answers.append(Answer(**{k: v for k, v in event.items() if k != "kind"}))

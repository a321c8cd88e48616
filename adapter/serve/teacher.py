"""Teaching the page: pairs to compare, answers, and a taste that is fitted in the background."""

from __future__ import annotations

import shutil
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.data.comparisons import Comparisons, select_comparisons
from adapter.errors import AdapterError, ConfigError, LabelsError
from adapter.evaluation.agreement import agreement
from adapter.evaluation.predict import predict
from adapter.serve.answers import Answer
from adapter.stored import StoredRun
from adapter.teaching.choose import next_pair
from adapter.teaching.head import train_head
from adapter.teaching.linear import fit_linear, image_features, ridge_on_strengths
from adapter.teaching.resemblance import resemblance_scores
from featcache.errors import FeatcacheError
from featcache.wording import quantity

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from adapter.data.comparisons import ComparisonTable
    from adapter.serve.answers import AnswerBook
    from adapter.serve.engine import Engine
    from adapter.settings import TrainEvent
    from adapter.teaching.choose import Question

    Array = NDArray[np.float64]

LONGEST = 300  # characters of a question
TOKENS_UP_TO = 20_000  # photos; beyond, the taste sees pooled embeddings alone
HELD_OUT = 2  # every second random answer measures, and is not learned from, while measuring
LEAST = 8  # answers before a taste can be fitted


class Teacher:
    """Asks, keeps answers, and learns from them.

    Args:
        engine: Scores photos; gets the taste as a wish.
        book: The answers.
        folder: Where heads are trained.
    """

    def __init__(self, engine: Engine, book: AnswerBook, folder: Path) -> None:
        self.engine = engine
        self.book = book
        self._folder = folder
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.status: dict[str, Any] = {"working": False}

    @cached_property
    def features(self) -> Array:
        """What the linear taste sees, float64 [N, D]."""
        cache = self.engine.library.cache
        return image_features(cache, tokens=len(cache) <= TOKENS_UP_TO)

    def next(self, question: str) -> Question:
        """Choose the next pair.

        Raises:
            ConfigError: The question is empty or long, or there is no pair left.
        """
        question = _clean(question)
        asked = self.book.of(question)
        taste = fit_linear(self.features, self._comparisons(question), ridge=1.0)
        rows = self._rows([(a.left, a.right) for a in asked])
        return next_pair(self.features, taste, rows)

    def answer(self, question: str, left: int, right: int, answer: str, drawn: str) -> None:
        """Keep an answer about two rows; it is on the disk when this returns.

        Raises:
            ConfigError: There are no such photos, or no such answer.
        """
        names = self.engine.library.samples
        for row in (left, right):
            if not 0 <= row < len(names):
                raise ConfigError(f"there is no photo {row}")
        if drawn not in ("random", "active"):
            raise ConfigError(f"pairs are random or active, not {drawn!r}")
        self.book.add(
            Answer(
                left=names[left],
                right=names[right],
                answer=answer,
                question=_clean(question),
                drawn=drawn,
            )
        )

    def train(self, question: str) -> None:
        """Begin to learn; the status says how far it is.

        Raises:
            ConfigError: There are too few answers, or it is learning already.
        """
        question = _clean(question)
        table = self.book.table(question)
        if len(table) < LEAST:
            raise ConfigError(f"{quantity(len(table), 'answer')}; at least {LEAST} are needed")
        with self._lock:
            if self.status["working"]:
                raise ConfigError("it is learning already; wait until it has finished")
            self.status = {"working": True, "question": question, "step": 0, "steps": 1}
        self._thread = threading.Thread(target=self._learn, args=(question, table), daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until it has learned."""
        if self._thread is not None:
            self._thread.join()

    def _learn(self, question: str, table: ComparisonTable) -> None:
        """Measure, then fit to all answers; runs in a thread."""
        try:
            result = self._measure(question, table)
        except (AdapterError, FeatcacheError, OSError, RuntimeError) as error:
            self.status = {"working": False, "question": question, "error": str(error)}
            return
        self.status = {"working": False, "question": question, **result}

    def _measure(self, question: str, table: ComparisonTable) -> dict[str, Any]:
        everything = self._comparisons(question)
        drawn = np.array([a.drawn for a in self.book.of(question) if a.answer != "skip"])
        chosen = np.flatnonzero(drawn[: len(everything)] == "random")[1::HELD_OUT]
        held = np.zeros(len(everything), bool)
        held[chosen] = True
        known, unseen = everything.take(~held), everything.take(held)
        orders: dict[str, Array] = {
            "taste": self._taste(known),
            "ridge": ridge_on_strengths(self.features, known),
        }
        notes = []
        try:
            pooled = self.engine.prompt(question).pooled
            orders["untrained"] = (self.engine.library.directions @ pooled).astype(np.float64)
        except FeatcacheError as error:
            notes.append(f"the question could not be encoded, so there is no head: {error}")
        else:
            if self.engine.library.cache.shapes.num_tokens:
                orders["head"] = self._head(question, table, held)
            else:
                notes.append("the cache holds no tokens, so there is no head")
        found = {name: agreement(scores, unseen).to_dict() for name, scores in orders.items()}
        # Few answers measure, so the head has to be better by more than chance.
        surely = found.get("head", {}).get("low", 0.0) > (found["taste"]["share"] or 0.0)
        best = "head" if surely else "taste"
        scores = orders["head"] if surely else self._taste(everything)
        wish = self.engine.put(
            question, "taste", scores, f"learned from {quantity(len(table), 'answer')}"
        )
        return {
            "answers": len(table),
            "agreement": found,
            "used": best,
            "wish": wish.number,
            "notes": notes,
        }

    def _taste(self, answers: Comparisons) -> Array:
        """Score every photo by its resemblance to those that were answered about."""
        cache = self.engine.library.cache
        tokens = len(cache) <= TOKENS_UP_TO
        return resemblance_scores(cache, self.features, answers, tokens=tokens)

    def _head(self, question: str, table: ComparisonTable, held: NDArray[np.bool_]) -> Array:
        """Train a head without the answers that measure, and score every photo."""
        kept = [n for n in range(len(table)) if not held[n]]
        words = {1.0: "left", 0.5: "equal", 0.0: "right"}
        known = type(table).of(
            [
                (table.left[n], table.right[n], words[float(table.shares[n])], question)
                for n in kept
            ],
            table.source,
        )
        shutil.rmtree(self._folder, ignore_errors=True)

        def show(event: TrainEvent) -> None:
            self.status = {**self.status, "step": event.step, "steps": event.steps}

        train_head(self.engine.cache, known, self._folder, on_event=show)
        run = StoredRun.load(self._folder)
        return predict(run, self.engine.cache, question, np.arange(len(self.features)))

    def _comparisons(self, question: str) -> Comparisons:
        """Return the answers to a question as rows; none gives an empty selection."""
        table = self.book.table(question)
        if len(table):
            try:
                [selection], _ = select_comparisons([self.engine.library.cache], table)
                return selection.questions[0]
            except LabelsError as error:
                raise ConfigError(str(error)) from error
        none = np.empty(0, np.int64)
        return Comparisons(question=question, left=none, right=none, shares=np.empty(0))

    def _rows(self, pairs: list[tuple[str, str]]) -> list[tuple[int, int]]:
        """Return pairs of rows; photos that are gone are left out."""
        if not pairs:
            return []
        cache = self.engine.library.cache
        left, right = (cache.rows(list(side)) for side in zip(*pairs, strict=True))
        return [(int(a), int(b)) for a, b in zip(left, right, strict=True) if min(a, b) >= 0]


def _clean(question: str) -> str:
    text = " ".join(question.split())
    if not text or len(text) > LONGEST:
        raise ConfigError(f"a question has 1 to {LONGEST} characters")
    return text

"""Comparisons: which of two images answers a question better.

    left,right,answer,question
    a.jpg,b.jpg,left,Which photo is sharper?

A table, CSV or Parquet, beside the labels of a cache. ``left`` and ``right`` are sample ids, or
paths below the data set's root; ``answer`` is ``left``, ``right`` or ``equal``; ``question`` is
a prompt, as the queries of labels are. A pair may be asked several times and answered differently:
every answer counts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from adapter.data.labels import matches
from adapter.errors import LabelsError
from featcache.datasets.dialect import Dialect
from featcache.storage.tables import ok_samples
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from adapter.data.labels import FeatureCache

COLUMNS = ("left", "right", "answer", "question")
SHARES = {"left": 1.0, "equal": 0.5, "right": 0.0}  # of the answer, to the left image
TASK = "comparisons"  # of a question that no label has


@dataclass(frozen=True, kw_only=True)
class ComparisonTable:
    """Answers as they were given, n of them.

    Attributes:
        source: Where they come from, for messages.
        left: Ids or paths of the left images.
        right: Of the right ones.
        shares: float64 [n], 1 where left was chosen, 0 for right, 0.5 for equal.
        questions: What was asked.
    """

    source: str
    left: tuple[str, ...]
    right: tuple[str, ...]
    shares: NDArray[np.float64]
    questions: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self.left)

    @classmethod
    def of(cls, answers: Iterable[Sequence[str]], source: str) -> ComparisonTable:
        """Check answers, each (left, right, answer, question).

        Raises:
            LabelsError: A cell is empty, an answer is unknown, or an image meets itself.
        """
        rows = []
        for number, (left, right, answer, question) in enumerate(answers, start=1):
            where = f"{source}, answer {number}"
            for name, cell in zip(COLUMNS, (left, right, answer, question), strict=True):
                if not cell.strip():
                    raise LabelsError(f"{where}: {name} is empty")
            if answer.strip() not in SHARES:
                raise LabelsError(f"{where}: found {answer!r}, expected left, right or equal")
            if left == right:
                raise LabelsError(f"{where}: {left!r} is compared with itself")
            rows.append((left.strip(), right.strip(), SHARES[answer.strip()], question.strip()))
        lefts, rights, shares, questions = zip(*rows, strict=True) if rows else ((),) * 4
        return cls(
            source=source,
            left=lefts,
            right=rights,
            shares=np.array(shares, np.float64),
            questions=questions,
        )


def read_comparisons(file: Path) -> ComparisonTable:
    """Read a table of comparisons: Parquet by its suffix, else CSV or TSV.

    Raises:
        LabelsError: It is no such table; the message names the answer.
        DatasetError: It is not text in UTF-8.
    """
    if not file.is_file():
        raise LabelsError(f"{file}: not there; expected a table with columns {', '.join(COLUMNS)}")
    if file.suffix.lower() == ".parquet":
        try:
            table = pq.read_table(file)
        except (OSError, pa.ArrowException) as error:
            raise LabelsError(f"{file}: not a Parquet table: {error}") from error
        _places(file, table.column_names)
        columns = [table[name].cast(pa.string()).to_pylist() for name in COLUMNS]
        filled = ([cell or "" for cell in row] for row in zip(*columns, strict=True))
        return ComparisonTable.of(filled, str(file))
    dialect = Dialect(file)
    rows = dialect.rows()
    _, names = next(rows, (1, []))
    places = _places(file, [name.strip().lower() for name in names])

    def cells() -> Iterable[list[str]]:
        for line, row in rows:
            if len(row) != len(names):
                raise LabelsError(
                    f"{file}, line {line}: {quantity(len(row), 'cell')}, the first line has "
                    f"{len(names)}"
                )
            yield [row[place] for place in places]

    return ComparisonTable.of(cells(), str(file))


def _places(file: Path, names: Sequence[str]) -> list[int]:
    """Find the columns by name."""
    if missing := [name for name in COLUMNS if name not in names]:
        raise LabelsError(
            f"{file}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}, found "
            f"{', '.join(names) or 'nothing'}"
        )
    return [list(names).index(name) for name in COLUMNS]


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """The answers to one question about images of one cache, m of them.

    Attributes:
        question: The prompt.
        left: int64 [m], rows of the left images.
        right: int64 [m], rows of the right ones.
        shares: float64 [m], 1 for left, 0 for right, 0.5 for equal.
    """

    question: str
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    shares: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self.left)

    def take(self, index: NDArray[Any]) -> Comparisons:
        """Select answers, by numbers or by a mask."""
        return Comparisons(
            question=self.question,
            left=self.left[index],
            right=self.right[index],
            shares=self.shares[index],
        )


@dataclass(frozen=True, kw_only=True)
class ComparisonSelection:
    """What one cache has of a table of comparisons.

    Attributes:
        questions: Answers by question, sorted by it; a cache may have none.
    """

    questions: tuple[Comparisons, ...] = ()

    def __len__(self) -> int:
        """Return the number of answers."""
        return sum(map(len, self.questions))

    @property
    def image_rows(self) -> NDArray[np.int64]:
        """Every image that is compared, sorted, once."""
        parts = [part for asked in self.questions for part in (asked.left, asked.right)]
        return np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)

    @property
    def digest(self) -> str:
        """Digest of all answers, in their order."""
        state = hashlib.sha256()
        for asked in self.questions:
            state.update(repr((asked.question, len(asked))).encode())
            for values in (asked.left, asked.right, asked.shares):
                state.update(np.ascontiguousarray(values).tobytes())
        return state.hexdigest()[:32]


def select_comparisons(
    caches: Sequence[FeatureCache], table: ComparisonTable, questions: Sequence[str] = ()
) -> tuple[list[ComparisonSelection], int]:
    """Find the images of a table in caches.

    An answer belongs to the first cache that has both images.

    Args:
        caches: Where the features are.
        table: The answers.
        questions: Names or shell patterns of those that count; none means all.

    Returns:
        One selection per cache, and how many answers are about images without features.

    Raises:
        LabelsError: No answer is left.
    """
    wanted = np.array([matches(question, questions) for question in table.questions], bool)
    if not wanted.any():
        known = "; ".join(map(repr, sorted(set(table.questions))[:10])) or "nothing"
        raise LabelsError(
            f"{table.source}: no comparison answers {', '.join(questions) or 'a question'}; "
            f"the table asks {known}"
        )
    asked = np.array(table.questions, object)
    free, selections = wanted.copy(), []
    for cache in caches:
        left, right = image_rows(cache, table.left), image_rows(cache, table.right)
        here = free & (left >= 0) & (right >= 0)
        free &= ~here
        selections.append(
            ComparisonSelection(
                questions=tuple(
                    Comparisons(
                        question=question,
                        left=left[chosen],
                        right=right[chosen],
                        shares=table.shares[chosen],
                    )
                    for question in sorted(set(asked[here]))
                    if len(chosen := np.flatnonzero(here & (asked == question)))
                )
            )
        )
    if free.sum() == wanted.sum():
        raise LabelsError(
            f"{table.source}: no comparison is of two images of one cache, such as "
            f"{table.left[0]!r}; expected sample ids, or paths below the data set's root"
        )
    return selections, int(free.sum())


def image_rows(cache: FeatureCache, names: Sequence[str]) -> NDArray[np.int64]:
    """Find images by sample id or, where there is no such id, by path: int64 [n], else -1."""
    found = cache.rows(list(names))
    missing = np.flatnonzero(found < 0)
    read: Any = getattr(cache, "read_samples", None)
    if missing.size and read is not None:
        paths = ok_samples(read("path", "status"))["path"].combine_chunks()
        wanted = pa.array([names[int(place)] for place in missing], pa.string())
        by_path: Any = pc.index_in(wanted, value_set=paths)
        found[missing] = pc.fill_null(by_path, -1).to_numpy().astype(np.int64)
    return found

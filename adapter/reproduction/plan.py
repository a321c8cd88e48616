"""What is to be computed for some tables: fits, and the cells that are read from each.

A fit is one method that learns from one fold of one or several tasks under one backbone. Cells are
what it predicts for tasks. Two tables that want the same cell get the same one, and two cells that
need the same model share its fit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adapter.reproduction.cells import describe, task_identity
from adapter.reproduction.learning import learns_together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from adapter.methods.method import Method
    from adapter.reproduction.data import TaskData
    from adapter.reproduction.recipe import Recipe, Row, Task


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a cell stands: a table, a row, a task, a fold and a seed.

    Attributes:
        table: Number of the recipe.
        row: The row.
        task: The task.
        fold: The fold that is tested or, of a task without folds, the one that is learned.
        seed: The seed.
        run: Compute the cell; else only show it where it is there already.
    """

    table: int
    row: Row
    task: Task
    fold: int | None
    seed: int
    run: bool = True


@dataclass(kw_only=True)
class Wanted:
    """A cell that some tables want.

    Attributes:
        tested: The task, over its source.
        fold: Of the task.
        places: Where it stands.
    """

    tested: TaskData
    fold: int | None
    places: list[Place] = field(default_factory=list)

    @property
    def run(self) -> bool:
        """Whether any table computes it."""
        return any(place.run for place in self.places)


@dataclass(kw_only=True)
class Fit:
    """One model, or one per query, and the cells that are read from it.

    Attributes:
        method: What learns.
        sources: The tasks that it learns, over their sources.
        shares: Share of the batches that each one's data set gets.
        fold: Of the sources that have folds.
        seed: The seed.
        cells: What is predicted, by key.
    """

    method: Method
    sources: tuple[TaskData, ...]
    shares: tuple[float, ...]
    fold: int | None
    seed: int
    cells: dict[str, Wanted] = field(default_factory=dict)

    def fold_of(self, data: TaskData) -> int | None:
        """Return the fold of a source."""
        return self.fold if data.task.folds != (None,) else None

    def caches(self) -> list[str]:
        """Names of the caches that it reads."""
        every = [*self.sources, *(cell.tested for cell in self.cells.values())]
        return list(dict.fromkeys(str(data.source.folder) for data in every))


def make_plan(
    recipes: Sequence[Recipe],
    data_of: Callable[[int, Row, Task], TaskData | None],
    runs: Callable[[int, Row], bool],
) -> list[Fit]:
    """Find every fit that the tables need, in the order that reads each cache in one stretch.

    Args:
        recipes: The tables.
        data_of: A task over the source that a row of a table reads; None where data are missing.
        runs: Whether a row of a table is computed.
    """
    fits: dict[str, Fit] = {}
    for table, recipe in enumerate(recipes):
        for row in recipe.rows:
            for task in recipe.tasks:
                if recipe.method_of(row, task) is None:
                    continue
                for seed in recipe.seeds:
                    _add(fits, table, recipe, row, task, seed, data_of, run=runs(table, row))
    order = {name: n for n, name in enumerate(_caches(fits.values()))}
    return sorted(fits.values(), key=lambda fit: max(order[name] for name in fit.caches()))


def _caches(fits: Iterable[Fit]) -> list[str]:
    return list(dict.fromkeys(name for fit in fits for name in fit.caches()))


def _add(
    fits: dict[str, Fit],
    table: int,
    recipe: Recipe,
    row: Row,
    task: Task,
    seed: int,
    data_of: Callable[[int, Row, Task], TaskData | None],
    *,
    run: bool,
) -> None:
    """Add the cells of one row and task."""
    method = recipe.method_of(row, task)
    tested = data_of(table, row, task)
    shares = learned_by(row, task, method)
    sources = [data_of(table, row, t) for t in recipe.tasks if t.key in shares]
    there = tuple(source for source in sources if source is not None)
    if method is None or tested is None or len(there) < len(sources):
        return
    given = tuple(shares[source.task.key] for source in there)
    given = given if len(there) > 1 else (1.0,)
    for learned, fold in _folds(there, tested):
        key = _key(
            {
                "method": describe(method),
                "sources": [_source_key(source) for source in there],
                "shares": given,
                "fold": learned,
                "seed": seed,
            }
        )
        fit = fits.setdefault(
            key,
            Fit(
                method=method,
                sources=there,
                shares=given,
                fold=learned,
                seed=seed,
            ),
        )
        cell = fit.cells.setdefault(
            _key({"tested": _source_key(tested), "fold": fold}), Wanted(tested=tested, fold=fold)
        )
        shown = learned if fold is None else fold
        cell.places.append(Place(table=table, row=row, task=task, fold=shown, seed=seed, run=run))


def learned_by(row: Row, task: Task, method: Method | None) -> dict[str, float]:
    """Return the tasks that a row's model for a task learns, with their shares.

    A method that cannot learn several queries with one model learns each task by itself.
    """
    alone = method is not None and not learns_together(method)
    if not row.learns or (task.key in row.learns and alone):
        return {task.key: 1.0}
    return dict(row.learns)


def _folds(sources: Sequence[TaskData], tested: TaskData) -> list[tuple[int | None, int | None]]:
    """Pair the fold that is learned with the fold that is tested."""
    several = [set(s.task.folds) for s in sources if s.task.folds != (None,)]
    folds = tested.task.folds
    if not several:
        return [(None, fold) for fold in folds]
    common = [f for f in sources_folds(sources) if all(f in have for have in several)]
    if folds == (None,):
        return [(fold, None) for fold in common]
    return [(fold, fold) for fold in common if fold in folds]


def sources_folds(sources: Sequence[TaskData]) -> list[int | None]:
    """Return the folds of the first source that has several, in order."""
    return next(list(s.task.folds) for s in sources if s.task.folds != (None,))


def same_task(first: TaskData, second: TaskData) -> bool:
    """Tell whether two tasks have the same labels over the same features."""
    return first is second or _source_key(first) == _source_key(second)


def _source_key(data: TaskData) -> dict[str, Any]:
    """Return what tells a task over a source from others, before its labels are read."""
    task = data.task
    return {
        **task_identity(task),
        "cache": str(data.source.folder),
        "options": dict(task.options),
        "validation": task.validation,
        "zeros": [task.zeros, task.training_zeros, task.test_zeros],
        "tested": task.tested,
        "resplit": task.resplit,
    }


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)

"""What a recipe is: data, splits, prompts, methods with their settings, and the paper's numbers.

A recipe is a Python file with one value, ``RECIPE``. Copy one from ``adapter/recipes``, change it,
and run it with ``adapter reproduce FILE.py``. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from adapter.errors import ConfigError
from adapter.evaluation.titles import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.methods.method import Method

Metric = Literal[
    "accuracy",
    "mae",
    "plcc",
    "srcc",
    "pairwise",
    "plcc_zeros",
    "srcc_zeros",
    "mse",
    "mse_many",
    "mse_medium",
    "mse_few",
    "good",
]

COUNTING = ("count", "count-*")  # tasks of labels that count


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A number of the paper's table: mean, and standard deviation where one is given.

    Accuracy is in per cent.
    """

    mean: float
    std: float | None = None


@dataclass(frozen=True, kw_only=True)
class Resplit:
    """How many images are on which side, where a task does not take the data set's own splits.

    Attributes:
        test: Images of the test part.
        train: Images of the training part; None for all others.
    """

    test: int
    train: int | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """One column group of the table: a data set, its splits, its queries, classes and prompts.

    A task with several queries is measured query by query, and its numbers are means over them.
    Tables that share a task share its cells.

    Attributes:
        key: Short name, for files; part of what determines a cell.
        title: Name in print.
        dataset: Name of the featcache reader.
        folders: Where below --data the data set is looked for, in this order.
        options: Of the reader.
        quick_options: What --quick changes of them.
        folds: Which splits are run; ``(None,)`` where there is only one.
        resplit: Splits are drawn anew by the number of the fold, from all labeled images.
        task: Of the labels.
        query: Of the labels; also the adapter's prompt. Empty where there are several.
        queries: Several, as names or shell patterns.
        class_values: Values that a label can have, ascending; derived from the labels when empty.
        class_names: One short name per class.
        class_prompt: Prompt of a class, with {} for its name.
        antonyms: Prompts of the high and of the low end; derived from the query when empty.
        scale: Lowest and highest value that a label can have; that of the classes when None.
        threshold: Above it an image is good, for the column ``good``.
        metrics: Columns.
        classifier_value: What a classifier's MAE is of: the ``argmax`` class, as for few
            classes, or the ``expected`` value, as for years.
        validation: ``keep`` the data set's validation part apart, or ``train`` on it as well.
        zeros: ``stated``: the labels hold them; ``inferred``: an image that is labeled for
            another query of the task has none of this query's objects.
        training_zeros: Inferred zeros per count in the training part, for methods that do not
            draw their own.
        test_zeros: Most inferred zeros per query in the test part, drawn by name; None for all.
        tested: ``test``: the test part; ``all``: every labeled image, and nothing is learned from
            this data set.
        backbone: Fields of the backbone that this data set needs other than the table's.
        split: Said below the table.
        choices: What the paper leaves open and what was chosen; said below the table.
    """

    key: str
    title: str
    dataset: str
    folders: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    quick_options: Mapping[str, Any] = field(default_factory=dict)
    folds: tuple[int | None, ...] = (None,)
    resplit: Resplit | None = None
    task: str
    query: str = ""
    queries: tuple[str, ...] = ()
    class_values: tuple[float, ...] = ()
    class_names: tuple[str, ...] = ()
    class_prompt: str = ""
    antonyms: tuple[str, ...] = ()
    scale: tuple[float, float] | None = None
    threshold: float | None = None
    metrics: tuple[Metric, ...] = ("accuracy", "mae")
    classifier_value: Literal["argmax", "expected"] = "argmax"
    validation: Literal["keep", "train"] = "keep"
    zeros: Literal["stated", "inferred"] = "stated"
    training_zeros: float = 0.25
    test_zeros: int | None = None
    tested: Literal["test", "all"] = "test"
    backbone: Mapping[str, Any] = field(default_factory=dict)
    split: str = ""
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if bool(self.query) == bool(self.queries):
            raise ConfigError(f"{self.key}: give either one query, or several queries")
        classes = len(self.class_values)
        if classes != len(self.class_names) or classes == 1:
            raise ConfigError(
                f"{self.key}: {classes} class values and "
                f"{len(self.class_names)} class names; expected two or more of each, equally many"
            )
        if list(self.class_values) != sorted(set(self.class_values)):
            raise ConfigError(f"{self.key}: class values must ascend, not {self.class_values}")
        if classes and "{}" not in self.class_prompt:
            raise ConfigError(f"{self.key}: class_prompt needs {{}} for the name of the class")
        if classes and self.queries:
            raise ConfigError(f"{self.key}: classes of several queries come from their labels")
        if len(self.antonyms) not in (0, 2):
            raise ConfigError(f"{self.key}: antonyms are two prompts, the high end first")
        if self.resplit is not None and (not self.query or None in self.folds):
            raise ConfigError(f"{self.key}: splits are drawn for one query, by numbers of folds")
        if not self.folds or not self.folders:
            raise ConfigError(f"{self.key}: folds and folders must not be empty")
        if unknown := set(self.metrics) - COLUMNS.keys():
            raise ConfigError(f"{self.key}: unknown metric {sorted(unknown)[0]!r}")
        if "good" in self.metrics and self.threshold is None:
            raise ConfigError(f"{self.key}: the column good needs a threshold")

    @property
    def class_prompts(self) -> tuple[str, ...]:
        """One whole prompt per class."""
        return tuple(self.class_prompt.format(name) for name in self.class_names)

    @property
    def names(self) -> tuple[str, ...]:
        """The query, or the names and patterns of several."""
        return self.queries or (self.query,)

    @property
    def counts(self) -> bool:
        """Whether labels count objects."""
        return any(fnmatchcase(self.task, pattern) for pattern in COUNTING)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a method that is run, or one that is only quoted.

    Attributes:
        key: Short name, for files and for --only.
        title: Name in print.
        method: How it is run; None for a line that stands as the paper prints it.
        methods: Per task key, a method with other settings, such as more steps.
        printed: Per task key and metric, the paper's number.
        learns: Keys of the tasks that one model learns together, and the share of the batches
            that each one's data set gets. The model is then tested on every task. Empty: each
            task has a model of its own.
        tasks: Keys of the tasks that it is run on; empty for all.
        backbone: Fields of the backbone that differ for this row.
        note: How it differs from the original; a footnote of the table.
        reason: Why it is not run, where it is quoted.
    """

    key: str
    title: str
    method: Method | None = None
    methods: Mapping[str, Method] = field(default_factory=dict)
    printed: Mapping[str, Mapping[Metric, Printed]] = field(default_factory=dict)
    learns: Mapping[str, float] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    backbone: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A table of the paper, or one of your own.

    Attributes:
        name: Of its files.
        title: In print.
        source: Where the printed numbers stand.
        tasks: Column groups.
        rows: Lines, in the order of the table.
        reference: Key of the row that the others are compared with.
        seeds: Each method and fold is run once per seed.
        views: What is extracted.
        backbone: Fields of the backbone that this table needs other than the default.
        notes: Said below the table.
        quick: Made by :meth:`to_quick`; not the reproduction.
    """

    name: str
    title: str
    source: str
    tasks: tuple[Task, ...]
    rows: tuple[Row, ...]
    reference: str
    seeds: tuple[int, ...] = (0,)
    views: tuple[str, ...] = ("original", "hflip")
    backbone: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    quick: bool = False

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        tasks = [t.key for t in self.tasks]
        for what, keys in {"task": tasks, "row": [r.key for r in self.rows]}.items():
            if len(set(keys)) < len(keys) or not keys:
                raise ConfigError(f"recipe {self.name}: every {what} needs a key of its own")
        for row in self.rows:
            if unknown := {*row.learns, *row.tasks, *row.printed, *row.methods} - set(tasks):
                raise ConfigError(
                    f"recipe {self.name}, row {row.key}: there is no task {sorted(unknown)[0]!r}"
                )
            if min(row.learns.values(), default=1) <= 0:
                raise ConfigError(f"recipe {self.name}, row {row.key}: shares must be positive")
        if self.reference not in {r.key for r in self.rows if r.method is not None}:
            raise ConfigError(f"recipe {self.name}: reference {self.reference!r} is not run")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"recipe {self.name}: give one or more different seeds")

    def method_of(self, row: Row, task: Task) -> Method | None:
        """Return what a row runs on a task; None where it runs nothing there."""
        if row.method is None or (row.tasks and task.key not in row.tasks):
            return None
        return row.method if row.learns else row.methods.get(task.key, row.method)

    def to_quick(self) -> Recipe:
        """Return the same with few steps and, where a task says so, fewer images."""
        return dataclasses.replace(
            self,
            quick=True,
            tasks=tuple(
                dataclasses.replace(t, options={**t.options, **t.quick_options}) for t in self.tasks
            ),
            rows=tuple(
                r
                if r.method is None
                else dataclasses.replace(
                    r,
                    method=r.method.quick(),
                    methods={key: method.quick() for key, method in r.methods.items()},
                )
                for r in self.rows
            ),
        )

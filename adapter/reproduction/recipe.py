"""What a recipe is: data, splits, prompts, methods with their settings, and the paper's numbers.

A recipe is a Python file with one value, ``RECIPE``. Copy one from this folder, change it, and
run it with ``adapter reproduce FILE.py``. Nothing here imports torch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from adapter.errors import ConfigError
from adapter.evaluation.titles import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter.methods.method import Method

Metric = Literal["accuracy", "mae", "plcc", "srcc"]


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A number of the paper's table: mean, and standard deviation where one is given.

    Accuracy is in per cent.
    """

    mean: float
    std: float | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """One column group of the table: a data set, its splits, its classes and prompts.

    Attributes:
        key: Short name, for files.
        title: Name in print.
        dataset: Name of the featcache reader.
        folders: Where below --data the data set is looked for, in this order.
        options: Of the reader.
        quick_options: What --quick changes of them.
        folds: Which splits are run; ``(None,)`` where there is only one.
        task: Of the labels.
        query: Of the labels; also the adapter's prompt.
        class_values: Values that a label can have, ascending.
        class_names: One short name per class.
        class_prompt: Prompt of a class, with {} for its name.
        antonyms: Prompts of the high and of the low end.
        metrics: Columns.
        classifier_value: What a classifier's MAE is of: the ``argmax`` class, as for few
            classes, or the ``expected`` value, as for years.
        split: Said below the table.
    """

    key: str
    title: str
    dataset: str
    folders: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    quick_options: Mapping[str, Any] = field(default_factory=dict)
    folds: tuple[int | None, ...] = (None,)
    task: str
    query: str
    class_values: tuple[float, ...]
    class_names: tuple[str, ...]
    class_prompt: str
    antonyms: tuple[str, str]
    metrics: tuple[Metric, ...] = ("accuracy", "mae")
    classifier_value: Literal["argmax", "expected"] = "argmax"
    split: str = ""

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if len(self.class_values) != len(self.class_names) or len(self.class_values) < 2:
            raise ConfigError(
                f"{self.key}: {len(self.class_values)} class values and "
                f"{len(self.class_names)} class names; expected two or more of each, equally many"
            )
        if list(self.class_values) != sorted(set(self.class_values)):
            raise ConfigError(f"{self.key}: class values must ascend, not {self.class_values}")
        if "{}" not in self.class_prompt:
            raise ConfigError(f"{self.key}: class_prompt needs {{}} for the name of the class")
        if not self.folds or not self.folders:
            raise ConfigError(f"{self.key}: folds and folders must not be empty")
        if unknown := set(self.metrics) - METRICS.keys():
            raise ConfigError(f"{self.key}: unknown metric {sorted(unknown)[0]!r}")

    @property
    def class_prompts(self) -> tuple[str, ...]:
        """One whole prompt per class."""
        return tuple(self.class_prompt.format(name) for name in self.class_names)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a method that is run, or one that is only quoted.

    Attributes:
        key: Short name, for files and for --only.
        title: Name in print.
        method: How it is run; None for a line that stands as the paper prints it.
        printed: Per task key and metric, the paper's number.
    """

    key: str
    title: str
    method: Method | None = None
    printed: Mapping[str, Mapping[Metric, Printed]] = field(default_factory=dict)


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
    notes: tuple[str, ...] = ()
    quick: bool = False

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        for what, keys in {
            "task": [t.key for t in self.tasks],
            "row": [r.key for r in self.rows],
        }.items():
            if len(set(keys)) < len(keys) or not keys:
                raise ConfigError(f"recipe {self.name}: every {what} needs a key of its own")
        if self.reference not in {r.key for r in self.rows if r.method is not None}:
            raise ConfigError(f"recipe {self.name}: reference {self.reference!r} is not run")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"recipe {self.name}: give one or more different seeds")

    def to_quick(self) -> Recipe:
        """Return the same with few steps and, where a task says so, fewer images."""
        return dataclasses.replace(
            self,
            quick=True,
            tasks=tuple(
                dataclasses.replace(t, options={**t.options, **t.quick_options}) for t in self.tasks
            ),
            rows=tuple(
                r if r.method is None else dataclasses.replace(r, method=r.method.quick())
                for r in self.rows
            ),
        )

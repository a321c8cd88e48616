"""One method on one fold with one seed: a cell, kept as one file, never computed twice.

    cells/adience/adapter/fold-3-seed-0-8c1f00d2.json

The name ends with a digest of all that determines the cell: the method's settings, the task's
classes and prompts, the fold's labels and the fingerprint of the features. Change one of them,
and the cell is another one; the old file stays. The folder says which row of a table first asked
for it; a cell is found in any of them, so tables with the same cell share it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from adapter.errors import CheckpointError
from adapter.evaluation.long_tail import region_cuts
from featcache.configuration import plain
from featcache.storage.durable import make_folders, write_json
from featcache.storage.fingerprint import digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from adapter.methods.method import Array, FoldData, Method, Prediction, Rows
    from adapter.reproduction.recipe import Task

FORMAT = 1

Cuts = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Where a cell's result is kept, and what it is.

    Attributes:
        path: Its file.
        identity: All that determines it, as JSON values.
    """

    path: Path
    identity: Mapping[str, Any]

    @property
    def state(self) -> Path:
        """A folder for what the method keeps while it learns."""
        return self.path.with_suffix("")

    def read(self) -> CellResult | None:
        """Return the finished result, or None.

        Raises:
            CheckpointError: The file is damaged, or not what its name says.
        """
        if not self.path.exists():
            return None
        try:
            value = json.loads(self.path.read_text("utf-8"))
            if value["identity"] != json.loads(json.dumps(self.identity)):
                raise CheckpointError(f"{self.path}: holds another cell; remove the file")
            return CellResult(
                queries=tuple(
                    QueryResult.from_dict(query) for query in value.get("queries", [value])
                ),
                classifies=bool(value["classifies"]),
                seconds=float(value["seconds"]),
                device=str(value["device"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f"{self.path}: damaged ({error}); remove it, and the cell is computed again"
            ) from error

    def write(self, result: CellResult) -> None:
        """Keep a finished result, atomically."""
        make_folders(self.path.parent)
        queries = [query.to_dict() for query in result.queries]
        write_json(
            self.path,
            {
                "format": FORMAT,
                "identity": self.identity,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": result.seconds,
                "device": result.device,
                "classifies": result.classifies,
                **(queries[0] if len(queries) == 1 else {"queries": queries}),
            },
        )


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """Predictions of one query for a fold's test images.

    Attributes:
        query: The prompt.
        rows: int64 [n], rows of the cache.
        values: float64 [n], labels.
        predictions: float64 [n], predicted values.
        classes: float64 [n], values of the predicted classes.
        cuts: Where the training labels part the scale into regions; None where there are none.
    """

    query: str
    rows: Rows
    values: Array
    predictions: Array
    classes: Array
    cuts: Cuts | None = None

    @classmethod
    def of(cls, prediction: Prediction, data: FoldData, learned: FoldData) -> QueryResult:
        """Take a method's predictions for the test part.

        A regressor's class is the one whose value is nearest, the lower one of two.

        Args:
            prediction: What was predicted.
            data: The fold that is tested.
            learned: The fold that was learned, whose classes are predicted.
        """
        values = learned.class_values
        if prediction.probabilities is not None:
            classes = prediction.probabilities.argmax(axis=1)
        else:
            edges = (values[1:] + values[:-1]) / 2  # the lower class has its edge
            classes = np.searchsorted(edges, prediction.values, side="left")
        train = data.train.values
        return cls(
            query=data.query,
            rows=data.test.rows,
            values=data.test.values,
            predictions=prediction.values,
            classes=values[classes],
            cuts=region_cuts(train) if len(np.unique(train)) > 1 else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "query": self.query,
            "rows": self.rows.tolist(),
            "values": self.values.tolist(),
            "predictions": [float(f"{p:.7g}") for p in self.predictions],
            "classes": self.classes.tolist(),
            "cuts": None if self.cuts is None else list(self.cuts),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> QueryResult:
        """Read what ``to_dict`` gave, now or before 2026-11-28."""
        cuts = value.get("cuts")
        return cls(
            query=str(value.get("query", "")),
            rows=np.array(value["rows"], np.int64),
            values=np.array(value["values"], np.float64),
            predictions=np.array(value["predictions"], np.float64),
            classes=np.array(value["classes"], np.float64),
            cuts=None if cuts is None else (cuts[0], cuts[1], cuts[2], cuts[3]),
        )


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """What a cell holds.

    Attributes:
        queries: Predictions, one entry per query of the task.
        classifies: Whether the method predicts classes by itself.
        seconds: Wall time of learning and predicting; of a model that several cells are made
            with, the learning is in each.
        device: Where.
    """

    queries: tuple[QueryResult, ...]
    classifies: bool
    seconds: float
    device: str


def task_identity(task: Task) -> dict[str, Any]:
    """Return what of a task determines its cells, as JSON values."""
    identity: dict[str, Any] = {
        "key": task.key,
        "task": task.task,
        "query": task.query,
        "class_values": list(task.class_values),
        "class_names": list(task.class_names),
        "class_prompt": task.class_prompt,
        "antonyms": list(task.antonyms),
    }
    if task.queries:
        identity["queries"] = list(task.queries)
    if task.scale is not None:
        identity["scale"] = list(task.scale)
    return identity


def make_cell(
    folder: Path,
    task: Task,
    row: str,
    method: Method,
    tested: Sequence[FoldData],
    learned: Sequence[Mapping[str, Any]] = (),
) -> Cell:
    """Name the cell of a method on a fold; nothing is computed.

    Args:
        folder: Of all cells.
        task: What is tested.
        row: Names the folder of a new cell.
        method: What learns.
        tested: The fold, one entry per query.
        learned: What the model learns from, where that is not the task itself.
    """
    first = tested[0]
    identity: dict[str, Any] = {
        "format": FORMAT,
        "task": task_identity(task),
        "method": describe(method),
        "fold": first.fold,
        "seed": first.seed,
        "labels": labels_digest(tested, only_test=bool(learned)),
        "features": first.cache.fingerprint.digest,
    }
    if learned:
        # The spelling of the key stays: the digest is part of the names of files.
        identity["learnt"] = list(learned)
    fold = "" if first.fold is None else f"fold-{first.fold}-"
    name = f"{fold}seed-{first.seed}-{digest(identity)[:12]}"
    # Finished, or begun, for another table?
    there = sorted((folder / task.key).glob(f"*/{name}*"))
    place = there[0].parent if there else folder / task.key / row
    return Cell(path=place / f"{name}.json", identity=identity)


def describe(method: Method) -> dict[str, Any]:
    """Return a method's name and settings as JSON values.

    Settings that are newer than the first cells are left out while they have their default, so that
    cells outlive a new version.
    """
    settings: Any = method
    fields = dataclasses.fields(settings)
    values = {field.name: plain(getattr(settings, field.name)) for field in fields}
    described: dict[str, Any] = json.loads(json.dumps({"name": type(method).__name__, **values}))
    return described


def labels_digest(folds: Sequence[FoldData], *, only_test: bool = False) -> str:
    """Hash which images are on which side, and their values."""
    state = xxhash.xxh3_128()
    for data in folds:
        if len(folds) > 1:
            state.update(data.query.encode())
        for part in (data.test,) if only_test else (data.train, data.val, data.test):
            state.update(part.rows.tobytes())
            state.update(part.values.tobytes())
            state.update(b"|")
    return state.hexdigest()

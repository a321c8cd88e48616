"""One method on one fold with one seed: a cell, kept as one file, never computed twice.

    cells/adience/adapter/fold-3-seed-0-8c1f00d2.json

The name ends with a digest of all that determines the cell: the method's settings, the task's
classes and prompts, the fold's labels and the fingerprint of the features. Change one of them,
and the cell is another one; the old file stays.
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
from adapter.evaluation.metrics import mae, plcc, srcc
from featcache.storage.durable import make_folders, write_json
from featcache.storage.fingerprint import digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from adapter.methods.method import Array, FoldData, Method, Prediction, Rows
    from adapter.reproduction.recipe import Metric, Task

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Where a cell's result is kept, and what it is.

    Attributes:
        path: Its file.
        identity: All that determines it, as JSON values.
        fold: Its fold.
        seed: Its seed.
    """

    path: Path
    identity: Mapping[str, Any]
    fold: int | None
    seed: int

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
                rows=np.array(value["rows"], np.int64),
                values=np.array(value["values"], np.float64),
                predictions=np.array(value["predictions"], np.float64),
                classes=np.array(value["classes"], np.float64),
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
        write_json(
            self.path,
            {
                "format": FORMAT,
                "identity": self.identity,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": result.seconds,
                "device": result.device,
                "classifies": result.classifies,
                "rows": result.rows.tolist(),
                "values": result.values.tolist(),
                "predictions": [float(f"{p:.7g}") for p in result.predictions],
                "classes": result.classes.tolist(),
            },
        )


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """Predictions for a fold's test images.

    Attributes:
        rows: int64 [n], rows of the cache.
        values: float64 [n], labels.
        predictions: float64 [n], predicted values.
        classes: float64 [n], values of the predicted classes.
        classifies: Whether the method predicts classes by itself.
        seconds: Wall time of fitting and predicting.
        device: Where.
    """

    rows: Rows
    values: Array
    predictions: Array
    classes: Array
    classifies: bool
    seconds: float
    device: str

    @classmethod
    def of(
        cls, prediction: Prediction, data: FoldData, *, seconds: float, device: str
    ) -> CellResult:
        """Take a method's predictions for the test part.

        A regressor's class is the one whose value is nearest, the lower one of two.
        """
        values = data.class_values
        if prediction.probabilities is not None:
            classes = prediction.probabilities.argmax(axis=1)
        else:
            classes = np.abs(prediction.values[:, None] - values[None]).argmin(axis=1)
        return cls(
            rows=data.test.rows,
            values=data.test.values,
            predictions=prediction.values,
            classes=values[classes],
            classifies=prediction.probabilities is not None,
            seconds=seconds,
            device=device,
        )

    def estimates(self, task: Task) -> Array:
        """Values [n] whose error the MAE is of; see ``Task.classifier_value``."""
        by_class = self.classifies and task.classifier_value == "argmax"
        return self.classes if by_class else self.predictions

    def per_image(self, metric: Metric, task: Task) -> Array | None:
        """A metric's parts [n], whose mean it is; None for correlations, which have none."""
        if metric == "accuracy":
            return np.where(self.classes == self.values, 100.0, 0.0)
        if metric == "mae":
            return np.asarray(np.abs(self.estimates(task) - self.values), np.float64)
        return None

    def measure(self, metric: Metric, task: Task) -> float:
        """Compute one metric; accuracy in per cent."""
        if metric == "accuracy":
            return float(100.0 * (self.classes == self.values).mean())
        if metric == "mae":
            return mae(self.values, self.estimates(task))
        return {"plcc": plcc, "srcc": srcc}[metric](self.values, self.predictions)


def make_cell(folder: Path, task: Task, row: str, method: Method, data: FoldData) -> Cell:
    """Name the cell of a method on a fold; nothing is computed."""
    identity = {
        "format": FORMAT,
        "task": {
            "key": task.key,
            "task": task.task,
            "query": task.query,
            "class_values": list(task.class_values),
            "class_names": list(task.class_names),
            "class_prompt": task.class_prompt,
            "antonyms": list(task.antonyms),
        },
        "method": describe(method),
        "fold": data.fold,
        "seed": data.seed,
        "labels": labels_digest(data),
        "features": data.cache.fingerprint.digest,
    }
    fold = "" if data.fold is None else f"fold-{data.fold}-"
    name = f"{fold}seed-{data.seed}-{digest(identity)[:12]}.json"
    path = folder / task.key / row / name
    return Cell(path=path, identity=identity, fold=data.fold, seed=data.seed)


def describe(method: Method) -> dict[str, Any]:
    """Return a method's name and settings as JSON values."""
    settings: Any = method
    values = dataclasses.asdict(settings)
    described: dict[str, Any] = json.loads(json.dumps({"name": type(method).__name__, **values}))
    return described


def labels_digest(data: FoldData) -> str:
    """Hash which images are on which side, and their values."""
    state = xxhash.xxh3_128()
    for part in (data.train, data.val, data.test):
        state.update(part.rows.tobytes())
        state.update(part.values.tobytes())
        state.update(b"|")
    return state.hexdigest()

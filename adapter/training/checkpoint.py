"""The state of a run that can be resumed: one safetensors file, replaced atomically.

It holds the weights, the optimizer's moments and, as JSON in the file's header, the step, the
loss scaler, the best validation so far, and the settings of the run. There is no generator state:
batches, views and dropout are functions of (seed, step). Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from adapter.errors import CheckpointError
from adapter.settings import current_settings
from featcache.storage.durable import committed, finite, make_folders
from featcache.storage.fingerprint import differences

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import torch
    from torch import Tensor, nn

STATE = "state/state.safetensors"
VERSION = 1
# Settings that change neither weights nor the meaning of the log.
HARMLESS = (
    "train.log_every",
    "train.checkpoint_every",
    "train.source",
    "train.verify_rows",
    "train.tensorboard",
    "train.device",
    "features.schema_version",  # runs of caches of version 1 have it; features are the same
)


@dataclass(kw_only=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: Updates done.
        best_value: Best validation so far; None before the first.
        best_step: Its step.
        stale: Validations since then.
        seconds: Time spent in steps, over all parts of the run.
        scaler: State of the fp16 loss scaler; empty for other precisions.
    """

    step: int = 0
    best_value: float | None = None
    best_step: int | None = None
    stale: int = 0
    seconds: float = 0.0
    scaler: dict[str, float]


def save_state(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    settings: Mapping[str, Any],
) -> None:
    """Write everything that the next step depends on, atomically and durably."""
    tensors = {f"model/{name}": t for name, t in model.state_dict().items()}
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    for parameter, moments in optimizer.state.items():
        for key, tensor in moments.items():
            tensors[f"optimizer/{names[parameter]}/{key}"] = tensor
    header = {"version": VERSION, "progress": asdict(progress), "settings": dict(settings)}
    path = folder / STATE
    make_folders(path.parent)
    with committed(path) as temporary, plain_errors():
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in tensors.items()},
            temporary,
            metadata={"run": json.dumps(finite(header), allow_nan=False)},
        )


def reason(error: OSError) -> str:
    """Say in a few words why a file could not be written."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return cause.strerror or str(cause)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what safetensors raises when a file cannot be written into an OSError."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def load_state(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: Mapping[str, Any],
) -> Progress | None:
    """Put a saved state back; None where nothing was saved yet.

    Raises:
        CheckpointError: The file is damaged, or belongs to a run with other settings.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as stream:
            header = json.loads((stream.metadata() or {})["run"])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error}); remove the run's folder to start again"
        ) from error
    if header.get("version") != VERSION:
        raise CheckpointError(f"{path}: version {header.get('version')}, expected {VERSION}")
    require_same_settings(current_settings(header["settings"]), settings, folder)
    try:
        model.load_state_dict(_part(tensors, "model/"))
        _restore_moments(model, optimizer, _part(tensors, "optimizer/"))
        return Progress(**header["progress"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: does not fit the model of this run: {error}") from error


def require_same_settings(
    saved: Mapping[str, Any], now: Mapping[str, Any], folder: Path, ignore: Sequence[str] = HARMLESS
) -> None:
    """Refuse to resume with settings that would make another run.

    Raises:
        CheckpointError: They differ; each difference is named with both values.
    """
    plain = json.loads(json.dumps(now))
    found = [d for d in differences(saved, plain) if d[0] not in ignore]
    if found:
        lines = "\n".join(f"  {name}: {one!r} then, {two!r} now" for name, one, two in found)
        raise CheckpointError(
            f"{folder} was started with other settings:\n{lines}\n"
            "Resume with the same ones, or train into a new folder."
        )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select tensors by the start of their names, which is cut off."""
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


def _restore_moments(
    model: nn.Module, optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]
) -> None:
    """Fill the optimizer's per-parameter state on each parameter's device."""
    parameters = dict(model.named_parameters())
    for full_name, tensor in saved.items():
        name, key = full_name.rsplit("/", 1)
        parameter = parameters[name]
        optimizer.state[parameter][key] = tensor.to(parameter.device)

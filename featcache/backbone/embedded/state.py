"""The state of a training: weights, optimizer and progress in one safetensors file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from featcache.storage.durable import committed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn


def save_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Mapping[str, Any]
) -> None:
    """Write all that the next step depends on, atomically."""
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for parameter, moments in optimizer.state.items():
        for key, tensor in moments.items():
            tensors[f"optimizer/{names[parameter]}/{key}"] = tensor
    with committed(path) as temporary:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={"run": json.dumps(dict(progress))},
        )


def load_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Put a saved state back and return its progress; None where nothing was saved."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as stream:
        progress: dict[str, Any] = json.loads(stream.metadata()["run"])
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    weights = {n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")}
    model.load_state_dict(weights)
    parameters = dict(model.named_parameters())
    for full, tensor in tensors.items():
        if full.startswith("optimizer/"):
            name, key = full.removeprefix("optimizer/").rsplit("/", 1)
            parameter = parameters[name]
            if tensor.shape == parameter.shape:  # a moment has the memory layout of its parameter
                tensor = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
            optimizer.state[parameter][key] = tensor
    return progress

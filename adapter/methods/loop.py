"""The loop that trained methods share: batches as a function of (seed, step), and a state on disk.

A method gives its parameters, an optimizer, a schedule, and the loss of step k. The loop saves
weights and moments every half minute and when a signal stops it, after a whole step, so a stopped
fit goes on where it was and ends with the same numbers. Nothing random is kept between steps.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from adapter.errors import TrainingError
from featcache.stopping import StopRequest
from featcache.storage.durable import make_folders, write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from adapter.methods.method import FoldData

STATE = "fit.safetensors"
SAVE_SECONDS = 30.0
REPORT_EVERY = 20


def batch_of(count: int, batch_size: int, step: int, seed: int) -> NDArray[np.int64]:
    """Return the positions int64 [b] of batch ``step`` (from 0) among ``count`` images.

    Images are drawn without replacement within an epoch, in an order of its own for each epoch;
    an epoch's last batch may be smaller. A pure function of its arguments.
    """
    per_epoch = math.ceil(count / batch_size)
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return order[place * batch_size : (place + 1) * batch_size]


class Epochs(Protocol):
    """The settings of a method that learns for so many passes over its images."""

    @property
    def epochs(self) -> int:
        """Passes over the training images."""

    @property
    def steps(self) -> int:
        """Updates; 0 takes ``epochs``."""

    @property
    def batch_size(self) -> int:
        """Images per update."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long a fit is.

    Attributes:
        epoch: Steps of one pass over the training images.
        steps: Of the whole fit.
    """

    epoch: int
    steps: int

    @classmethod
    def of(cls, method: Epochs, count: int) -> Schedule:
        """Take a method's settings, and how many training images there are."""
        epoch = math.ceil(count / method.batch_size)
        return cls(epoch=epoch, steps=method.steps or method.epochs * epoch)

    def cosine_by_epoch(self, step: int) -> float:
        """Return the factor of the learning rate: a cosine that changes once per epoch."""
        return cosine(step // self.epoch * self.epoch, self.steps)


def cosine(
    step: int, steps: int, *, warmup: int = 0, start: float = 0.0, end: float = 0.0
) -> float:
    """Return the factor of the learning rate at a step: linear from ``start``, then a cosine.

    Args:
        step: From 0.
        steps: Of the whole fit.
        warmup: Steps of growth.
        start: Factor at the first step of the growth.
        end: Factor that the cosine ends at.
    """
    if step < warmup:
        return start + (1 - start) * step / warmup
    share = (step - warmup) / max(steps - warmup, 1)
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * share))


def run_steps(
    data: FoldData,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[int], Tensor],
    steps: int,
    *,
    factor: Callable[[int], float] = lambda step: 1.0,
    after: Callable[[], None] = lambda: None,
    name: str = "",
) -> None:
    """Take ``steps`` steps, or go on where an earlier call in the same folder stopped.

    Args:
        data: The fold; its folder keeps the state, its ``on_progress`` is told of steps.
        parameters: What is learned or tracked, by name, changed in place; buffers may be among
            them.
        optimizer: Over the parameters that get gradients.
        loss_of: From the number of a step, from 0, to its loss.
        steps: In all.
        factor: Of each group's first learning rate, at a step.
        after: Called after each step, such as to clamp a parameter.
        name: Tells apart several loops of one fit.

    Raises:
        TrainingError: The loss is not finite, or the state is of another fit.
        KeyboardInterrupt: A signal stopped the loop; the state is on the disk.
    """
    path = data.folder / f"{name}{STATE}"
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    step = _load(path, parameters, optimizer, steps)
    saved = time.monotonic()
    data.on_progress(step, steps)
    with StopRequest() as stop:  # an interrupt in the middle of a step would leave half of it
        while step < steps and not stop.requested:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor(step)
            loss = loss_of(step)
            if not bool(torch.isfinite(loss)):
                value = float(loss.detach())
                raise TrainingError(
                    f"the loss is {value} at step {step + 1}; lower lr ({max(rates):g})"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            after()
            step += 1
            if step % REPORT_EVERY == 0 or step == steps:
                data.on_progress(step, steps)
            if time.monotonic() - saved > SAVE_SECONDS:
                _save(path, parameters, optimizer, step, steps)
                saved = time.monotonic()
        _save(path, parameters, optimizer, step, steps)
    if step < steps:
        raise KeyboardInterrupt


def _save(
    path: Path,
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    step: int,
    steps: int,
) -> None:
    """Write weights and moments as one safetensors file, atomically."""
    tensors = {f"weights/{name}": value.detach().contiguous() for name, value in parameters.items()}
    plain: dict[str, float] = {}
    for number, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            if isinstance(value, torch.Tensor):
                tensors[f"moments/{number}/{name}"] = value.contiguous()
            elif value is not None:
                plain[f"{number}/{name}"] = value
    about = json.dumps({"step": step, "steps": steps, "plain": plain})
    make_folders(path.parent)
    write_bytes(path, save(tensors, {"fit": about}))


def _load(
    path: Path, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, steps: int
) -> int:
    """Restore a state, if there is one; returns the steps done."""
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["fit"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about["steps"] != steps:
            raise TrainingError(
                f"{path}: the state of a fit of {about['steps']} steps, not {steps}; remove it, or "
                "choose another folder"
            )
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(tensors[f"weights/{name}"])
        state: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            if key.startswith("moments/"):
                _, number, name = key.split("/")
                state.setdefault(int(number), {})[name] = value
        for key, value in about["plain"].items():
            number, name = key.split("/")
            state.setdefault(int(number), {})[name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, TrainingError):
            raise
        raise TrainingError(f"{path}: damaged ({error}); remove it to begin again") from error
    return int(about["step"])

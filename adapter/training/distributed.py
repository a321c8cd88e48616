"""Several processes, one batch: what is exchanged so that the result stays the same.

Every process holds a part of each batch. The pair loss needs every pair of the *whole* batch, but
a pair needs only each image's summary (log-sum-exp and pooled values), so summaries are gathered,
not tokens. Gathering is differentiable: its backward pass adds up what every process says about a
summary and hands each process its own part. With every process's loss being its share of the
whole, the sum of the gradients over processes is the gradient of the loss on one process, and no
wrapper around the model is needed.

Start with ``torchrun --nproc-per-node N``; its environment variables are all that is read.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from adapter.errors import PeerError
from featcache.devices import pick_device

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True)
class World:
    """The processes of a run.

    Attributes:
        rank: This process, from 0.
        size: How many there are.
        device: The device of this process.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0


def is_main_process() -> bool:
    """Tell whether this is the process, of those that torchrun started, that writes files."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def processes(device: str) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, or be the only one.

    Uses NCCL on CUDA, where each process takes the device of its local rank, else gloo.

    Raises:
        PeerError: The connection to another process was lost.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(0, 1, pick_device(device))
        return
    chosen = pick_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    already = dist.is_initialized()
    if not already:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), chosen)
    except RuntimeError as error:
        if not _of_a_connection(error):
            raise
        raise PeerError(
            f"process {dist.get_rank()} has lost its connection to another one, which has ended "
            f"or cannot be reached ({_in_short(error)})"
        ) from error
    finally:
        if not already:
            dist.destroy_process_group()


def _of_a_connection(error: RuntimeError) -> bool:
    """Tell whether an error is that of NCCL or gloo; gloo's have no class of their own."""
    return isinstance(error, dist.DistError) or "/gloo/transport/" in str(error)


def _in_short(error: RuntimeError) -> str:
    """Return what an error says, without the place in gloo's code before it, and advice after."""
    first = str(error).splitlines()[0]
    return re.sub(r"^\[\S+\] ", "", first).split(". ")[0]


class _Gather(torch.autograd.Function):
    """Concatenate parts of different lengths over processes; sums gradients on the way back."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, lengths: tuple[int, ...], rank: int) -> Tensor:
        ctx.lengths, ctx.rank = lengths, rank
        # Collectives want equal shapes: pad to the longest part, then cut. [longest, ...]
        padded = part.new_zeros((max(lengths), *part.shape[1:]))
        padded[: len(part)] = part
        received = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(received, padded)
        return torch.cat([r[:n] for r, n in zip(received, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        start = sum(ctx.lengths[: ctx.rank])
        return gradient[start : start + ctx.lengths[ctx.rank]], None, None


def gather(part: Tensor, lengths: Sequence[int], world: World) -> Tensor:
    """Gather a batch's parts, differentiably.

    Args:
        part: [lengths[rank], ...], this process's part.
        lengths: Length of every process's part, in order.
        world: The processes.

    Returns:
        [sum(lengths), ...], the same on every process. Its backward pass *sums* the gradients
        of all processes, so each must compute only its share of the loss.
    """
    if world.size == 1:
        return part
    return _Gather.apply(part, tuple(lengths), world.rank)  # type: ignore[no-any-return]


def sum_gradients(parameters: Sequence[torch.nn.Parameter], world: World) -> None:
    """Add up gradients over processes, in one message; absent gradients count as zero."""
    if world.size == 1:
        return
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
    dist.all_reduce(flat)
    start = 0
    for p in parameters:
        if p.grad is not None:
            p.grad.copy_(flat[start : start + p.numel()].view_as(p))
            start += p.numel()


class _AddUp(torch.autograd.Function):
    """Sum over processes. Every process goes back from the same total through its own terms."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        del ctx
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        return gradients[0]


def add_up(value: Tensor, world: World) -> Tensor:
    """Sum a tensor over processes, differentiably with respect to this process's part."""
    if world.size == 1:
        return value
    return _AddUp.apply(value)  # type: ignore[no-any-return]


def any_process(flag: bool, world: World) -> bool:
    """Tell whether a flag is set on any process, so that all of them stop at the same step."""
    if world.size == 1:
        return flag
    value = torch.tensor([float(flag)], device=world.device)
    dist.all_reduce(value)
    return bool(value.item() > 0)


def broadcast_object(value: Any, world: World) -> Any:
    """Hand a plain value (numbers, strings, lists) from process 0 to all, as JSON bytes."""
    if world.size == 1:
        return value
    import json

    data = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8, device=world.device)
    length = torch.tensor([len(data)], device=world.device)
    dist.broadcast(length, 0)
    if world.rank != 0:
        data = torch.empty(int(length.item()), dtype=torch.uint8, device=world.device)
    dist.broadcast(data, 0)
    return json.loads(bytes(data.cpu().tolist()))


def barrier(world: World) -> None:
    """Wait for every process."""
    if world.size > 1:
        dist.barrier()

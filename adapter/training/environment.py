"""What a run needs from the process it lives in: determinism, memory readings."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Let a GPU use only kernels that give the same bits each time; the CPU does so anyway.

    A kernel without such a form is used all the same, with PyTorch's warning.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    memory: Any = torch.utils.deterministic  # its attribute is a property of the module
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        memory.fill_uninitialized_memory,
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # costs time, changes no result
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = before[2]


def slow_precision(precision: str, device: torch.device) -> str | None:
    """Say that a processor has to imitate 16-bit arithmetic, which costs time; else None."""
    imitated = torch.backends.cpu.get_cpu_capability() == "AVX2"
    if device.type != "cpu" or precision == "fp32" or not imitated:
        return None
    return (
        f"this processor has no instructions for {precision}: a step takes several times as long "
        "as in fp32"
    )


def step_seed(seed: int, step: int, rank: int) -> int:
    """Mix (seed, step, process) into 63 bits for the generators that dropout uses."""
    state = np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def peak_memory(device: torch.device) -> int:
    """Largest memory so far in bytes: of the device, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

"""Where a network computes, and how precisely. torch is imported when a device is asked for."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from featcache.errors import ConfigError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def pick_device(name: str | torch.device) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps`` … into a device.

    Raises:
        ConfigError: The name is unknown, or the device is not there.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"unknown device {name!r}: give auto, cpu, cuda, cuda:N or mps"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device '{name}': PyTorch finds no usable CUDA device on this machine; give cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(
            f"device '{name}': PyTorch finds no GPU of Apple's on this machine; give cpu"
        )
    return device


def machine(device: torch.device) -> str:
    """Name what computes: the GPU, or the number and kind of the processor's cores."""
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {names[0] if names else platform.processor()}"


def choose_precision(precision: Precision, device: torch.device) -> Precision:
    """Turn ``auto`` into float32 on a CPU, and the best 16-bit type elsewhere.

    Raises:
        ConfigError: The name is unknown.
    """
    import torch

    if precision not in get_args(Precision):
        choices = ", ".join(get_args(Precision))
        raise ConfigError(f"unknown precision {precision!r}: give {choices}")
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def autocast_for(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Return a reusable context in which the network runs."""
    import torch

    if precision == "fp32":
        return nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.type, dtype=dtype)


def device_name(device: str | torch.device) -> str:
    """Name a device for people: the GPU's name, or the processor's architecture."""
    if str(device).startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return f"{device} ({platform.machine()})"

"""A digest of weights: equal digests, equal features."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping


def weights_digest(state_dict: Mapping[str, torch.Tensor]) -> str:
    """Return the sha256 of named tensors, as hex.

    Floating tensors are hashed as float32, the precision the backbone holds them in, so a
    checkpoint stored as float16 and its float32 copy have one digest. Each tensor is preceded by
    a line of JSON with its name, dtype and shape; bytes are in the machine's order, which is
    little-endian wherever torch runs. About a second per gigabyte.

    Args:
        state_dict: Names and tensors, on any device; the order does not matter.
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        tensor = state_dict[name].detach()
        tensor = tensor.to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype)
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(json.dumps([name, dtype, list(tensor.shape)]).encode() + b"\n")
        # reshape makes a copy where the memory is not contiguous, and 1-D where there is no axis
        digest.update(tensor.reshape(-1).contiguous().numpy().data.cast("B"))
    return digest.hexdigest()

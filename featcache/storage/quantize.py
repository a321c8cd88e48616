"""int8 tokens: one scale per token, half the disk of float16.

scale = max|x| / 127 over the token's channels,  q = round(x / scale),  x ~ q * scale
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

# From this many numbers on, torch starts threads, which hang in a process that was forked from one
# that had some; and whoever reads ahead while a step computes wants one thread.
SERIAL = 1 << 15

if TYPE_CHECKING:
    from numpy.typing import NDArray


def quantize(tokens: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize tokens float32 [..., P, C] to int8 [..., P, C] and scales float32 [..., P]."""
    scales = (np.abs(tokens).max(axis=-1) / 127).astype(np.float32)  # [..., P]
    divisor = np.where(scales > 0, scales, 1)[..., None]
    return np.rint(tokens / divisor).astype(np.int8), scales


def dequantize(tokens: NDArray[np.int8], scales: NDArray[np.float32], out: NDArray[Any]) -> None:
    """Write tokens int8 [..., C] times scales float32 [...] into ``out`` [..., C], in its dtype.

    torch rounds to float16 with the processor's own instruction, eight times as fast as numpy, to
    the same bits.
    """
    import torch  # here, so that a cache can be opened without it

    if not out.flags.c_contiguous:
        whole = np.empty(out.shape, out.dtype)
        dequantize(tokens, scales, whole)
        out[...] = whole
        return
    channels = tokens.shape[-1]
    # torch warns of arrays that cannot be written; those are copied.
    tokens = np.require(tokens, None, ("C", "W"))
    scales = np.require(scales, None, ("C", "W"))
    source = torch.from_numpy(tokens.reshape(-1, channels))  # [n, C]
    factors = torch.from_numpy(scales.reshape(-1, 1))  # [n, 1]
    target = torch.from_numpy(out.reshape(-1, channels))  # [n, C]
    step = max(1, (SERIAL - 1) // channels)
    for start in range(0, len(source), step):
        part = slice(start, start + step)
        target[part].copy_(source[part].float().mul_(factors[part]))

"""int8 tokens: one scale per token, half the disk of float16.

scale = max|x| / 127 over the token's channels,  q = round(x / scale),  x ~ q * scale
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def quantise(tokens: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise tokens float32 [..., P, C] to int8 [..., P, C] and scales float32 [..., P]."""
    scales = (np.abs(tokens).max(axis=-1) / 127).astype(np.float32)  # [..., P]
    divisor = np.where(scales > 0, scales, 1)[..., None]
    return np.rint(tokens / divisor).astype(np.int8), scales


def dequantise(tokens: NDArray[np.int8], scales: NDArray[np.float32], out: NDArray[Any]) -> None:
    """Write tokens int8 [..., P, C] times scales [..., P] into ``out``, in its dtype."""
    np.multiply(tokens, scales[..., None], out=out, casting="unsafe")

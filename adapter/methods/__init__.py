"""Baselines on the same cached features as the adapter: none reads an image again.

One file per method, each a frozen dataclass of its hyperparameters with
``fit(data) -> Predictor``; see :mod:`adapter.methods.method`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapter.methods.adapter import Adapter
    from adapter.methods.clip_iqa import ClipIqa, ClipIqaPlus
    from adapter.methods.coop import CoOp
    from adapter.methods.linear import LinearProbe
    from adapter.methods.method import FoldData, Method, Part, Prediction, Predictor
    from adapter.methods.ordinal_clip import OrdinalClip
    from adapter.methods.ridge import RidgeProbe
    from adapter.methods.zero_shot import ZeroShot

__all__ = [
    "Adapter",
    "ClipIqa",
    "ClipIqaPlus",
    "CoOp",
    "FoldData",
    "LinearProbe",
    "Method",
    "OrdinalClip",
    "Part",
    "Prediction",
    "Predictor",
    "RidgeProbe",
    "ZeroShot",
]

_MODULE_OF = {
    "Adapter": "adapter",
    "ClipIqa": "clip_iqa",
    "ClipIqaPlus": "clip_iqa",
    "CoOp": "coop",
    "FoldData": "method",
    "LinearProbe": "linear",
    "Method": "method",
    "OrdinalClip": "ordinal_clip",
    "Part": "method",
    "Prediction": "method",
    "Predictor": "method",
    "RidgeProbe": "ridge",
    "ZeroShot": "zero_shot",
}


def __getattr__(name: str) -> object:
    """Import a method's module on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'adapter.methods' has no attribute {name!r}")
    return getattr(import_module(f"adapter.methods.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    """List the public names without importing them."""
    return sorted([*globals(), *__all__])

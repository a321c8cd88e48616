"""Baselines on the same cached features as the adapter: none reads an image again.

One file per method, each a frozen dataclass of its hyperparameters with
``fit(data) -> Predictor``; see :mod:`adapter.baselines.method`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapter.baselines.clip_iqa import ClipIqa, ClipIqaPlus
    from adapter.baselines.coop import CoOp
    from adapter.baselines.linear import LinearProbe
    from adapter.baselines.method import FoldData, Method, Part, Prediction, Predictor
    from adapter.baselines.ordinal_clip import OrdinalClip
    from adapter.baselines.own import Adapter
    from adapter.baselines.ridge import RidgeProbe
    from adapter.baselines.zero_shot import ZeroShot

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
    "Adapter": "own",
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
        raise AttributeError(f"module 'adapter.baselines' has no attribute {name!r}")
    return getattr(import_module(f"adapter.baselines.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    """List the public names without importing them."""
    return sorted([*globals(), *__all__])

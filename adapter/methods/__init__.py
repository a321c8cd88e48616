"""Methods that learn to rank from cached features: none reads an image again.

    from adapter import methods
    predictor = methods.get("ridge").fit(methods.fold_of(cache, query))
    predictor.predict(methods.ImageVectors(cache), rows).values

One file per method, each a frozen dataclass of its hyperparameters with
``fit(data) -> Predictor``; see :mod:`adapter.methods.method` for what a method is given and
:mod:`adapter.methods.registry` for their names.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapter.methods.adapter import Adapter
    from adapter.methods.clip_iqa import ClipIqa, ClipIqaPlus
    from adapter.methods.clip_tuned import ClipTuned
    from adapter.methods.coop import CoOp, CoOpPrinted
    from adapter.methods.fold import fold_of
    from adapter.methods.l2rclip import L2RClip
    from adapter.methods.linear import LinearProbe
    from adapter.methods.method import FoldData, ImageVectors, Method, Part, Prediction, Predictor
    from adapter.methods.numclip import NumClip
    from adapter.methods.ordinal_clip import OrdinalClip
    from adapter.methods.predictor import load_predictor, save_predictor
    from adapter.methods.registry import MethodInfo, get, info, names
    from adapter.methods.ridge import RidgeProbe
    from adapter.methods.tmcr import Tmcr
    from adapter.methods.zero_shot import ZeroShot

__all__ = [
    "Adapter",
    "ClipIqa",
    "ClipIqaPlus",
    "ClipTuned",
    "CoOp",
    "CoOpPrinted",
    "FoldData",
    "ImageVectors",
    "L2RClip",
    "LinearProbe",
    "Method",
    "MethodInfo",
    "NumClip",
    "OrdinalClip",
    "Part",
    "Prediction",
    "Predictor",
    "RidgeProbe",
    "Tmcr",
    "ZeroShot",
    "fold_of",
    "get",
    "info",
    "load_predictor",
    "names",
    "save_predictor",
]

_MODULE_OF = {
    "Adapter": "adapter",
    "ClipIqa": "clip_iqa",
    "ClipIqaPlus": "clip_iqa",
    "ClipTuned": "clip_tuned",
    "CoOp": "coop",
    "CoOpPrinted": "coop",
    "FoldData": "method",
    "ImageVectors": "method",
    "L2RClip": "l2rclip",
    "LinearProbe": "linear",
    "Method": "method",
    "MethodInfo": "registry",
    "NumClip": "numclip",
    "OrdinalClip": "ordinal_clip",
    "Part": "method",
    "Prediction": "method",
    "Predictor": "method",
    "RidgeProbe": "ridge",
    "Tmcr": "tmcr",
    "ZeroShot": "zero_shot",
    "fold_of": "fold",
    "get": "registry",
    "info": "registry",
    "load_predictor": "predictor",
    "names": "registry",
    "save_predictor": "predictor",
}


def __getattr__(name: str) -> object:
    """Import a method's module on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'adapter.methods' has no attribute {name!r}")
    return getattr(import_module(f"adapter.methods.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    """List the public names without importing them."""
    return sorted(__all__)

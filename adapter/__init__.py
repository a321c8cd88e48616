"""adapter: ranking-aware adapters, trained from a featcache cache.

from adapter import Run, TrainConfig, evaluate, train

What ``dir(adapter)`` lists is for users; all else is internal. Names are imported when they are
first asked for (PEP 562): ``import adapter`` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapter.errors import (
    AdapterError,
    CheckpointError,
    CheckpointNotFoundError,
    ConfigError,
    LabelsError,
    TrainingError,
)

if TYPE_CHECKING:
    from adapter.evaluation.evaluate import evaluate
    from adapter.network.config import AdapterConfig
    from adapter.network.losses import LossConfig
    from adapter.network.model import RankingAdapter
    from adapter.run import Run
    from adapter.settings import OptimConfig, SamplingConfig, TrainConfig
    from adapter.training.train import train

    __version__: str

__all__ = [
    "AdapterConfig",
    "AdapterError",
    "CheckpointError",
    "CheckpointNotFoundError",
    "ConfigError",
    "LabelsError",
    "LossConfig",
    "OptimConfig",
    "RankingAdapter",
    "Run",
    "SamplingConfig",
    "TrainConfig",
    "TrainingError",
    "__version__",
    "evaluate",
    "train",
]

_MODULE_OF = {
    "AdapterConfig": "network.config",
    "LossConfig": "network.losses",
    "OptimConfig": "settings",
    "RankingAdapter": "network.model",
    "Run": "run",
    "SamplingConfig": "settings",
    "TrainConfig": "settings",
    "evaluate": "evaluation.evaluate",
    "train": "training.train",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name == "__version__":
        from featcache.versions import package_version

        return package_version("featcache")  # one distribution holds both packages
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"adapter.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, without importing them."""
    return sorted(__all__)

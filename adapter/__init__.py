"""adapter: ranking-aware adapters, trained from a featcache cache.

Names are imported when first used: ``import adapter`` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapter.convert import convert_checkpoint
    from adapter.network.comparison import rank_by_comparison
    from adapter.network.config import AdapterConfig
    from adapter.network.losses import LossConfig
    from adapter.network.model import AdapterOutput, RankingAdapter
    from adapter.network.ranking import PairSummary
    from adapter.run import Run
    from adapter.settings import OptimConfig, SamplingConfig, TrainConfig

__all__ = [
    "AdapterConfig",
    "AdapterOutput",
    "LossConfig",
    "OptimConfig",
    "PairSummary",
    "RankingAdapter",
    "Run",
    "SamplingConfig",
    "TrainConfig",
    "convert_checkpoint",
    "rank_by_comparison",
]

_MODULE_OF = {
    "AdapterConfig": "network.config",
    "AdapterOutput": "network.model",
    "LossConfig": "network.losses",
    "PairSummary": "network.ranking",
    "RankingAdapter": "network.model",
    "OptimConfig": "settings",
    "Run": "run",
    "SamplingConfig": "settings",
    "TrainConfig": "settings",
    "convert_checkpoint": "convert",
    "rank_by_comparison": "network.comparison",
}


def __getattr__(name: str) -> object:
    """Import a public name's module on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'adapter' has no attribute {name!r}")
    return getattr(import_module(f"adapter.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    """List the public names without importing them."""
    return sorted([*globals(), *__all__])

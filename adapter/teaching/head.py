"""A small adapter head, trained on a person's answers while they wait.

It is a run like any other, so `adapter rank` and `adapter report` read it; only its settings are
chosen so that 300 answers take less than a minute on two cores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.network.config import AdapterConfig
from adapter.network.losses import LossConfig
from adapter.settings import OptimConfig, SamplingConfig, TrainConfig
from adapter.training.train import train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from adapter.data.comparisons import ComparisonTable
    from adapter.data.labels import FeatureCache
    from adapter.settings import TrainEvent, TrainSummary

STEPS = 300
MODEL = AdapterConfig.released(
    width=64,
    heads=4,
    blocks=1,
    post_blocks=0,
    prompt_tokens=4,
    relation_tokens=4,
    relation_heads=4,
    pair_layers=1,
    score_layers=1,
    score_pool="mean",
)
LOSS = LossConfig(regression_weight=1.0)


def head_settings(steps: int = STEPS, seed: int = 0) -> TrainConfig:
    """Return the settings of a head's training."""
    return TrainConfig(
        steps=steps,
        seed=seed,
        checkpoint_every=0,
        sampling=SamplingConfig(batch_size=32, comparison_share=1.0),
        optim=OptimConfig(lr=1e-3, weight_decay=0.1),
    )


def train_head(
    cache: FeatureCache,
    answers: ComparisonTable,
    out: Path,
    *,
    steps: int = STEPS,
    seed: int = 0,
    on_event: Callable[[TrainEvent], None] | None = None,
) -> TrainSummary:
    """Train a head into the folder ``out``; errors as ``adapter.training.train.train``.

    Args:
        cache: Has tokens of the photos, and of every question.
        answers: What was answered; labels of the cache are not read.
        out: A new folder; it holds a run afterwards.
        steps: Updates.
        seed: Determines weights and batches.
        on_event: Told how far it is.
    """
    return train(
        [cache],
        out,
        MODEL,
        LOSS,
        head_settings(steps, seed),
        comparisons=answers,
        on_event=on_event,
    )

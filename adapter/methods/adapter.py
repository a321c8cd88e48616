"""The adapter itself, as one more method on the same folds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from adapter.methods.method import (
    FoldData,
    Hyperparameters,
    ImageVectors,
    Prediction,
    Rows,
)
from adapter.network.config import AdapterConfig
from adapter.network.losses import LossConfig
from adapter.record import RUN_FILE
from adapter.settings import OptimConfig, SamplingConfig, TrainConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter.settings import TrainEvent
    from adapter.stored import StoredRun
    from featcache.devices import Precision


@dataclass(frozen=True, kw_only=True)
class Adapter(Hyperparameters):
    """The ranking-aware adapter (arXiv 2412.06760, equations 1 to 6).

    ``LossConfig(ranking="none")`` switches the ranking head off, which leaves the regression head
    only (the paper's Table 5, second row).

    Attributes:
        model: Architecture; widths are taken from the cache.
        loss: Losses.
        train: Everything else; seed, query, fold and device are the fold's.
    """

    model: AdapterConfig = field(default_factory=AdapterConfig.released)
    loss: LossConfig = field(default_factory=LossConfig.released)
    train: TrainConfig = field(default_factory=TrainConfig)
    needs_text: bool = False

    def fit(self, data: FoldData) -> AdapterPredictor:
        """Train, or go on where a stopped run left off.

        Raises:
            KeyboardInterrupt: A signal stopped the run; its state is kept in ``data.folder``.
        """
        return self.fit_together([data])[0]

    def fit_together(
        self, folds: Sequence[FoldData], weights: Sequence[float] = ()
    ) -> list[AdapterPredictor]:
        """Train one adapter on several queries, of one or several caches.

        Args:
            folds: One per query, of the same seed, folder and device; caches of the same
                features.
            weights: Share of the batches that each query's data set gets; equal when empty.

        Returns:
            One predictor per query; they share the run.

        Raises:
            KeyboardInterrupt: A signal stopped the run; its state is kept in the folder.
        """
        from adapter.training.train import train

        first = folds[0]
        caches = list({id(data.cache): data.cache for data in folds}.values())
        shares = dict(zip((id(data.cache) for data in folds), weights, strict=False))
        sampling = self.train.sampling
        if len(caches) > 1 and shares:
            sampling = replace(sampling, weights=tuple(shares[id(cache)] for cache in caches))
        config = replace(
            self.train,
            seed=first.seed,
            fold=next((data.fold for data in folds if data.fold is not None), None),
            queries=tuple(dict.fromkeys(data.query for data in folds)),
            tasks=tuple(dict.fromkeys(data.task for data in folds)),
            device=first.device,
            sampling=sampling,
        )

        def show(event: TrainEvent) -> None:
            first.on_progress(event.step, event.steps)

        folder = first.folder / "run"
        summary = train(caches, folder, self.model, self.loss, config, on_event=show, resume=True)
        if summary.interrupted:
            raise KeyboardInterrupt
        return [
            AdapterPredictor(
                folder=str(folder),
                query=data.query,
                task=data.task,
                device=data.device,
                precision=config.precision,
            )
            for data in folds
        ]

    def quick(self) -> Adapter:
        """Return a small adapter with few steps, and few heads: narrow ones are slow on a CPU."""
        sampling = replace(self.train.sampling, batch_size=min(16, self.train.sampling.batch_size))
        optim = replace(self.train.optim, lr=max(self.train.optim.lr, 2e-3))
        return replace(
            self,
            model=self.model.replace(
                width=min(32, self.model.width),
                heads=min(2, self.model.heads),
                relation_heads=min(2, self.model.relation_heads),
                blocks=min(1, self.model.blocks),
                post_blocks=min(1, self.model.post_blocks),
                prompt_tokens=min(4, self.model.prompt_tokens),
                relation_tokens=min(4, self.model.relation_tokens),
            ),
            train=replace(
                self.train, steps=min(self.train.steps, 80), sampling=sampling, optim=optim
            ),
        )


@dataclass(frozen=True, kw_only=True)
class AdapterPredictor:
    """A trained run, read by its regression head.

    Attributes:
        folder: The run's folder.
        query: What it ranks by.
        task: The task whose unit the values get.
        device: Where to compute.
        precision: Of the network.
    """

    folder: str
    query: str
    task: str
    device: str
    precision: Precision

    def asked(self, query: str, task: str) -> AdapterPredictor:
        """Return the same run, asked for another query, learned or not."""
        return replace(self, query=query, task=task)

    def predict(self, vectors: ImageVectors, rows: Rows) -> Prediction:
        """Predict values."""
        from adapter.evaluation.predict import predict

        first = vectors.view == vectors.cache.views[0]
        values = predict(
            self._run,
            vectors.cache,
            self.query,
            rows,
            task=self.task,
            device=self.device,
            precision=self.precision,
            view=None if first else vectors.view,  # a stacked run averages over views itself
        )
        return Prediction(values=values)

    @property
    def _run(self) -> StoredRun:
        written = (Path(self.folder) / RUN_FILE).stat().st_mtime_ns
        return _load(self.folder, written)


@lru_cache(maxsize=1)
def _load(folder: str, written: int) -> StoredRun:
    """Load a run once for all of its queries; ``written`` tells two runs of one folder apart."""
    from adapter.stored import StoredRun

    del written
    return StoredRun.load(Path(folder))


def settings(
    steps: int, lr: float, *, batch_size: int = 64, precision: Precision = "auto"
) -> TrainConfig:
    """Return training settings with the few numbers that a recipe changes."""
    return TrainConfig(
        steps=steps,
        precision=precision,
        sampling=SamplingConfig(batch_size=batch_size),
        optim=OptimConfig(lr=lr),
    )

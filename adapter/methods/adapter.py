"""The adapter itself, as one more method on the same folds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from adapter.methods.method import FoldData, ImageVectors, Prediction, Rows
from adapter.network.config import AdapterConfig
from adapter.network.losses import LossConfig
from adapter.settings import OptimConfig, SamplingConfig, TrainConfig

if TYPE_CHECKING:
    from adapter.settings import TrainEvent
    from adapter.stored import StoredRun
    from featcache.devices import Precision


@dataclass(frozen=True, kw_only=True)
class Adapter:
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
        from adapter.training.train import train

        config = replace(
            self.train,
            seed=data.seed,
            fold=data.fold,
            queries=(data.query,),
            tasks=(data.task,),
            device=data.device,
        )

        def show(event: TrainEvent) -> None:
            data.on_progress(event.step, event.steps)

        folder = data.folder / "run"
        summary = train(
            [data.cache], folder, self.model, self.loss, config, on_event=show, resume=True
        )
        if summary.interrupted:
            raise KeyboardInterrupt
        return AdapterPredictor(
            folder=str(folder),
            query=data.query,
            task=data.task,
            device=data.device,
            precision=config.precision,
        )

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
        task: Whose unit its values are in.
        device: Where to compute.
        precision: Of the network.
    """

    folder: str
    query: str
    task: str
    device: str
    precision: Precision

    def predict(self, vectors: ImageVectors, rows: Rows) -> Prediction:
        """Predict values."""
        from adapter.evaluation.predict import predict

        values = predict(
            self._run,
            vectors.cache,
            self.query,
            rows,
            task=self.task,
            device=self.device,
            precision=self.precision,
            view=vectors.view,
        )
        return Prediction(values=values)

    @cached_property
    def _run(self) -> StoredRun:
        from adapter.stored import StoredRun

        return StoredRun.load(Path(self.folder))


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

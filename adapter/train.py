"""Training an adapter from cached features.

    summary = train([Path("cache/koniq10k")], Path("run"), "released", LossConfig(), TrainConfig())

A run can stop anywhere. On SIGTERM or Ctrl-C it finishes the step, saves its state and returns;
after SIGKILL, ``resume=True`` goes on from the last saved state. Since batches, views and dropout
are functions of (seed, step), the result is the same, bit for bit on one device, as without the
interruption. Started by ``torchrun``, the processes share each batch; see
:mod:`adapter.distributed`.

The loop never waits for the device: losses stay there and are fetched every ``log_every`` steps.
"""

from __future__ import annotations

import math
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from adapter.checkpoint import (
    Progress,
    load_state,
    require_same_settings,
    save_state,
)
from adapter.config import AdapterConfig
from adapter.distributed import (
    World,
    any_process,
    barrier,
    broadcast_object,
    processes,
    sum_gradients,
)
from adapter.environment import StopRequest, peak_memory, reproducible, step_seed
from adapter.errors import ConfigError, TrainingError
from adapter.evaluate import validation_value
from adapter.feed import Feed, TrainBatch, open_source, token_layout
from adapter.labels import LabelSelection, hold_out, select_labels
from adapter.log import RunLog
from adapter.model import WEIGHTS, RankingAdapter
from adapter.optim import (
    build_optimizer,
    gradient_norm,
    learning_rate,
    set_learning_rate,
)
from adapter.run import RUN_FILE, cache_name, open_caches, read_record, versions, write_record
from adapter.sampling import Batch, Sampler, require_prompts
from adapter.settings import TrainConfig, TrainEvent, TrainSummary
from adapter.step import (
    autocast_for,
    batch_losses,
    choose_precision,
    match_heads,
)
from adapter.targets import fit_scales

Preset = Literal["released", "paper"]

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from adapter.labels import FeatureCache
    from adapter.losses import LossConfig


def train(
    shards: Sequence[str | Path | FeatureCache],
    out: str | Path,
    model: AdapterConfig | Preset,
    loss: LossConfig,
    config: TrainConfig,
    *,
    on_event: Callable[[TrainEvent], None] | None = None,
    resume: bool = False,
) -> TrainSummary:
    """Train an adapter.

    Args:
        shards: Caches, as paths or opened; their features must be the same.
        out: The run's folder.
        model: Architecture, or the name of a preset; ``image_dim`` and ``text_dim`` are taken
            from the caches.
        loss: Which losses. A head without a loss is switched off, and the other way round.
        config: Everything else.
        on_event: Called with each :class:`TrainEvent`, on the first process.
        resume: Go on from the state in ``out``, if there is one.

    Returns:
        How the run ended. ``out`` then holds the adapter, unless it was interrupted before the
        first validation.

    Raises:
        ConfigError: Settings contradict each other, or ``out`` holds another run.
        LabelsError: The caches' labels or prompts do not allow this run.
        FingerprintMismatchError: The caches hold different features.
        CheckpointError: The state in ``out`` is damaged, or of a run with other settings.
        TrainingError: A loss was not finite.
    """
    with processes(config.device) as world:
        return _Training(shards, Path(out), model, loss, config, on_event, world).run(resume)


def match_widths(model: AdapterConfig | Preset, cache: FeatureCache) -> AdapterConfig:
    """Fit an architecture, or a preset by name, to the widths of a cache's features."""
    image_dim = token_layout(cache)[0][-1]
    text_dim = int(cache.prompt(cache.labels["query"][0].as_py()).tokens.shape[-1])
    if isinstance(model, AdapterConfig):
        return model.replace(image_dim=image_dim, text_dim=text_dim)
    if model not in ("released", "paper"):
        raise ConfigError(f"no preset {model!r}; there are released and paper")
    preset = AdapterConfig.released if model == "released" else AdapterConfig.paper
    return preset(image_dim=image_dim, text_dim=text_dim)


class _Training:
    """One run on one process: prepares in ``__init__``, loops in ``run``."""

    def __init__(
        self,
        shards: Sequence[str | Path | FeatureCache],
        out: Path,
        model: AdapterConfig | Preset,
        loss: LossConfig,
        config: TrainConfig,
        on_event: Callable[[TrainEvent], None] | None,
        world: World,
    ) -> None:
        self.out, self.config, self.world = out, config, world
        self.on_event = on_event if world.is_main else None
        self.caches = open_caches(shards)
        self.precision = choose_precision(config.precision, world.device)
        architecture = match_widths(model, self.caches[0])
        architecture, self.loss = match_heads(architecture, loss)
        if self.loss.presence and config.target_scale != "none":
            raise ConfigError(
                "the presence loss reads a score of zero as 'as likely present as not', which "
                "needs target_scale none"
            )
        self._select_labels()
        self.scales = fit_scales(
            [(c.dataset, s) for c, s in zip(self.caches, self.selections, strict=True)],
            config.target_scale,
        )
        self.sampler = Sampler(
            self.selections, [c.views for c in self.caches], config.sampling, config.seed
        )
        for at, cache in enumerate(self.caches):
            require_prompts(cache, self.sampler.prompts(at), cache_name(cache))
        self.settings = {
            "model": architecture.to_dict(),
            "loss": self.loss.to_dict(),
            "train": config.to_dict(),
            "features": self.caches[0].fingerprint.to_dict(),
        }
        self.model = RankingAdapter(architecture, seed=config.seed).to(world.device)
        self.optimizer = build_optimizer(self.model, config.optim)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=self.precision == "fp16")
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.autocast = autocast_for(self.precision, world.device)
        self.losses = torch.compile(batch_losses) if config.compile else batch_losses

    def _select_labels(self) -> None:
        """Choose training labels and, if wanted, validation labels of every cache."""
        config = self.config

        def choose(cache: FeatureCache, split: tuple[str, ...]) -> LabelSelection:
            return select_labels(
                cache, split=split, fold=config.fold, queries=config.queries, tasks=config.tasks
            )

        self.selections: list[LabelSelection] = []
        self.validation: list[LabelSelection] = []
        for cache in self.caches:
            selection = choose(cache, config.split)
            if config.validate_every:
                present = set(cache.labels["split"].unique().to_pylist())
                if present & set(config.validation_split):
                    held = choose(cache, config.validation_split)
                else:
                    selection, held = hold_out(selection, config.hold_out, config.seed)
                self.validation.append(held)
            self.selections.append(selection)

    def run(self, resume: bool) -> TrainSummary:
        """Prepare the folder, loop, finish."""
        finished = self._claim_folder(resume)
        if finished is not None:
            return finished
        self.progress = Progress(scaler=self.scaler.state_dict())
        if resume:
            saved = load_state(self.out, self.model, self.optimizer, self.settings)
            if saved is not None:
                self.progress = saved
                if saved.scaler:
                    self.scaler.load_state_dict(saved.scaler)
        self.kinds, feed = self._open_feed()
        with ExitStack() as stack:
            self.log = None
            if self.world.is_main:
                step = self.progress.step if resume else None
                self.log = RunLog(self.out, resume_step=step, tensorboard=self.config.tensorboard)
                stack.callback(self.log.close)
            stack.enter_context(torch.random.fork_rng(devices=self._cuda_devices()))
            stack.enter_context(reproducible(self.world.device))
            self.stop = stack.enter_context(StopRequest())
            self._emit("start", self._start_values())
            return self._finish(self._loop(feed))

    def _claim_folder(self, resume: bool) -> TrainSummary | None:
        """Write ``run.json``, or recognise an earlier run; returns a finished one's summary."""
        there = broadcast_object((self.out / RUN_FILE).exists(), self.world)
        if there and not resume:
            raise ConfigError(f"{self.out} already holds a run; resume it, or choose another --out")
        if there:
            record = read_record(self.out)
            require_same_settings(record["settings"], self.settings, self.out)
            if record["outcome"] is not None and not record["outcome"]["interrupted"]:
                return TrainSummary.from_dict(record["outcome"])
        elif self.world.is_main:
            self.out.mkdir(parents=True, exist_ok=True)
            self._write_record(None)
        barrier(self.world)
        return None

    def _write_record(self, outcome: Mapping[str, Any] | None) -> None:
        write_record(
            self.out,
            {
                "settings": self.settings,
                "shards": [
                    {
                        "path": cache_name(c),
                        "dataset": c.dataset,
                        "fingerprint": c.fingerprint.to_dict(),
                        "queries": len(s.queries),
                        "images": len(s.image_rows),
                        "labels": sum(len(q.rows) for q in s.queries),
                        "left_out": s.left_out,
                    }
                    for c, s in zip(self.caches, self.selections, strict=True)
                ],
                "scales": self.scales.to_list(),
                "precision": self.precision,
                "processes": self.world.size,
                "versions": versions(),
                "outcome": outcome,
            },
        )

    def _open_feed(self) -> tuple[tuple[str, ...], Feed]:
        """Open a source per cache, and the feed that reads from them."""
        config = self.config
        remaining = (config.steps - self.progress.step) * config.sampling.batch_size
        opened = [
            open_source(
                config.source,
                cache,
                self.sampler.image_rows(at),
                self.sampler.view_indices(at),
                self.world.device,
                reads=remaining // len(self.caches),
            )
            for at, cache in enumerate(self.caches)
        ]
        feed = Feed(
            self.caches,
            self.sampler,
            self.scales,
            [source for _, source in opened],
            self.world.device,
            rank=self.world.rank,
            world=self.world.size,
        )
        return tuple(kind for kind, _ in opened), feed

    def _loop(self, feed: Feed) -> tuple[bool, bool]:
        """Do the remaining steps; returns (interrupted, stopped early)."""
        config, progress = self.config, self.progress
        self.pending: list[tuple[Batch, torch.Tensor]] = []
        self.last: dict[str, float] = {}
        self.images = 0
        batches = feed.batches(progress.step, config.steps)
        self.model.train()
        self.clock = time.perf_counter()
        try:
            for batch in batches:
                self._step(batch)
                step = progress.step
                last = step == config.steps
                logs = step % config.log_every == 0 or last
                # Several processes must agree on stopping, which costs a message: then only
                # where the log waits for the device anyway.
                asked = self.stop.requested
                if self.world.size > 1:
                    asked = logs and any_process(asked, self.world)
                validates = config.validate_every and (step % config.validate_every == 0 or last)
                saves = config.checkpoint_every and step % config.checkpoint_every == 0
                if logs or asked or validates or saves:
                    self._flush()
                if validates and self._validate():
                    return False, True
                if asked and not last:
                    self._save()
                    return True, False
                if saves and not last:
                    self._save()
        finally:
            batches.close()
        return False, False

    def _step(self, batch: TrainBatch) -> None:
        """Update once; nothing here waits for the device."""
        config, progress = self.config, self.progress
        lr = learning_rate(config.optim, progress.step, config.steps)
        set_learning_rate(self.optimizer, lr)
        torch.manual_seed(step_seed(config.seed, progress.step, self.world.rank))
        losses = self.losses(
            self.model,
            self.loss,
            self.world,
            batch.image_tokens,
            batch.text_tokens,
            batch.targets,
            self.autocast,
        )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(losses.total))
        sum_gradients(self.parameters, self.world)
        self.scaler.unscale_(self.optimizer)
        norm = gradient_norm(self.parameters, config.optim.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        progress.step += 1
        self.images += len(batch.plan)
        self.pending.append((batch.plan, torch.stack([*losses, norm]).detach()))

    def _flush(self) -> None:
        """Fetch the pending losses, check that they are finite, and log their mean."""
        if not self.pending:
            return
        values = torch.stack([v for _, v in self.pending]).double().cpu().numpy()  # [n, 5]
        elapsed = time.perf_counter() - self.clock
        finite = np.isfinite(values[:, 0])
        if not finite.all():
            plan = self.pending[int(np.flatnonzero(~finite)[0])][0]
            raise TrainingError(
                f"the loss of step {plan.step} is not finite (query {plan.query!r}, "
                f"{len(plan)} images, targets {plan.values.min():g} to {plan.values.max():g}); "
                "lower the learning rate, or use bf16 or fp32 instead of fp16. The last saved "
                f"state in {self.out} is from before"
            )
        mean = dict(
            zip(
                ("loss", "ranking", "regression", "presence", "grad_norm"),
                values.mean(axis=0).tolist(),
                strict=True,
            )
        )
        steps = len(self.pending)
        self.progress.seconds += elapsed
        self.last = mean
        record = {
            "step": self.progress.step,
            "kind": "train",
            **mean,
            "lr": self.optimizer.param_groups[0]["lr"],
            "step_ms": 1000 * elapsed / steps,
            "images_per_second": sum(len(p) for p, _ in self.pending) / elapsed,
            "peak_memory": peak_memory(self.world.device),
        }
        self.pending.clear()
        self._record(record)
        self._emit("step", record)
        self.clock = time.perf_counter()

    def _validate(self) -> bool:
        """Validate, keep the best weights; returns whether patience has run out."""
        config, progress = self.config, self.progress
        value = math.nan
        if self.world.is_main:
            value = validation_value(
                self.model,
                self.caches,
                self.validation,
                self.scales,
                config.select_by,
                device=self.world.device,
                precision=self.precision,
            )
        packed = broadcast_object(None if math.isnan(value) else value, self.world)
        sign = -1.0 if config.select_by == "mae" else 1.0
        better = packed is not None and (
            progress.best_value is None or sign * packed > sign * progress.best_value
        )
        if better:
            progress.best_value, progress.best_step, progress.stale = packed, progress.step, 0
            self._save_adapter()
        else:
            progress.stale += 1
        record = {
            "step": progress.step,
            "kind": "validation",
            config.select_by: packed,
            "best": progress.best_value,
            "best_step": progress.best_step,
        }
        self._record(record)
        self._emit("validation", record)
        self.model.train()
        self.clock = time.perf_counter()
        return bool(config.patience) and progress.stale >= config.patience

    def _save(self) -> None:
        """Save the state; the log up to here is made durable with it."""
        self.progress.scaler = self.scaler.state_dict()
        if self.world.is_main:
            assert self.log is not None
            self.log.sync()
            save_state(self.out, self.model, self.optimizer, self.progress, self.settings)
        barrier(self.world)
        self._emit("checkpoint", {})
        self.clock = time.perf_counter()

    def _save_adapter(self) -> None:
        if self.world.is_main:
            self.model.save(self.out, extra={"scales": self.scales.to_list()})

    def _finish(self, ended: tuple[bool, bool]) -> TrainSummary:
        """Write the adapter and the outcome; drop the state of a run that is complete."""
        interrupted, early = ended
        progress = self.progress
        if not interrupted and (progress.best_step is None or not self._has_weights()):
            self._save_adapter()
        summary = TrainSummary(
            folder=self.out,
            steps=progress.step,
            interrupted=interrupted,
            stopped_early=early,
            best_step=progress.best_step,
            best_value=progress.best_value,
            seconds=progress.seconds,
            images_per_second=self.images / progress.seconds if progress.seconds else 0.0,
            losses=self.last,
            left_out=sum(s.left_out for s in self.selections),
            source=self.kinds,
        )
        if self.world.is_main:
            self._write_record(summary.to_dict())
            if not interrupted:
                shutil.rmtree(self.out / "state", ignore_errors=True)
        barrier(self.world)
        self._emit("end", summary.to_dict())
        return summary

    def _has_weights(self) -> bool:
        return (self.out / WEIGHTS).exists()

    def _start_values(self) -> dict[str, Any]:
        shape, _ = token_layout(self.caches[0])
        return {
            "device": str(self.world.device),
            "processes": self.world.size,
            "precision": self.precision,
            "source": list(self.kinds),
            "parameters": sum(p.numel() for p in self.parameters),
            "queries": sum(len(s.queries) for s in self.selections),
            "images": sum(len(s.image_rows) for s in self.selections),
            "left_out": sum(s.left_out for s in self.selections),
            "tokens": list(shape),
        }

    def _record(self, record: Mapping[str, Any]) -> None:
        if self.log is not None:
            self.log.append(record)

    def _emit(self, kind: Any, values: Mapping[str, Any]) -> None:
        if self.on_event is not None:
            event = TrainEvent(
                kind=kind, step=self.progress.step, steps=self.config.steps, values=values
            )
            self.on_event(event)

    def _cuda_devices(self) -> list[int]:
        device = self.world.device
        return [device.index or 0] if device.type == "cuda" else []

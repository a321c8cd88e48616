"""The training loop: step, log, validate, save.

Nothing inside a step waits for the device: losses stay there and are fetched every ``log_every``
steps. That is also where a loss that is not finite is noticed, before any state is saved.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from adapter.data.feed import Feed, open_source
from adapter.errors import TrainingError
from adapter.evaluation.evaluate import validation_value
from adapter.network.model import RankingAdapter
from adapter.settings import TrainEvent
from adapter.training.checkpoint import Progress, load_state, reason, save_state
from adapter.training.distributed import any_process, barrier, broadcast_object, sum_gradients
from adapter.training.environment import peak_memory, step_seed
from adapter.training.inputs import standardize
from adapter.training.optim import build_optimizer, gradient_norm, learning_rate, set_learning_rate
from adapter.training.step import batch_losses, comparison_losses
from featcache.devices import autocast_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from adapter.data.feed import TrainBatch
    from adapter.data.sampling import Batch
    from adapter.network.losses import Losses
    from adapter.training.distributed import World
    from adapter.training.log import RunLog
    from adapter.training.prepare import Preparation
    from featcache.stopping import StopRequest

End = Literal["complete", "stopped early", "interrupted"]
LARGE = 1_000_000  # parameters from which on a run on a CPU takes hours
LOSS_NAMES = ("loss", "ranking", "regression", "presence", "grad_norm")


class Trainer:
    """One run on one process.

    Args:
        run: What to train.
        out: The run's folder.
        world: The processes.
        on_event: Told what happens; None on all processes but the first.

    Attributes:
        progress: Where the run stands.
        last: The losses that were logged last.
        images: Images seen by this process's steps.
        seconds: Time of these steps; that of a run that went on is in its progress.
        kinds: Which source each cache is read through, once the loop runs.
        optimizer: What the state holds beside the weights.
        best: The best weights, while they could not be written; else None.
        unsaved: Why the last state could not be saved; None when it was.
    """

    def __init__(
        self,
        run: Preparation,
        out: Path,
        world: World,
        on_event: Callable[[TrainEvent], None] | None,
    ) -> None:
        self.run, self.config, self.out, self.world = run, run.config, out, world
        self._on_event = on_event
        self.model = RankingAdapter(run.model, seed=run.config.seed).to(world.device)
        if run.model.standardize:
            standardize(self.model, run)
        self._parameters = list(self.model.parameters())
        self.optimizer = build_optimizer(self.model, run.config.optim)
        self._scaler = torch.amp.GradScaler(world.device.type, enabled=run.precision == "fp16")
        self._autocast = autocast_for(run.precision, world.device)
        self._losses = torch.compile(batch_losses) if run.config.compile else batch_losses
        self.progress = Progress(scaler=self._scaler.state_dict())
        self.last: dict[str, float] = {}
        self.images = 0
        self.seconds = 0.0
        self.kinds: tuple[str, ...] = ()
        self.best: dict[str, torch.Tensor] | None = None
        self.unsaved: OSError | None = None
        self._told: set[str] = set()
        self._log: RunLog | None = None
        self._pending: list[tuple[Batch, torch.Tensor]] = []
        self._clock = 0.0

    def restore(self) -> None:
        """Go back to the saved state, if there is one."""
        saved = load_state(self.out, self.model, self.optimizer, self.run.settings())
        if saved is not None:
            self.progress = saved
            if saved.scaler:
                self._scaler.load_state_dict(saved.scaler)

    def loop(self, log: RunLog | None, stop: StopRequest) -> End:
        """Do the remaining steps."""
        config, progress = self.config, self.progress
        self._log = log
        feed = self._open_feed()
        self.emit("start", self._start_values())
        for note in self.run.notes:
            self.note(note)
        self._estimate(feed)
        batches = feed.batches(progress.step, config.steps)
        self.model.train()
        self._clock = time.perf_counter()
        try:
            for batch in batches:
                self._step(batch)
                step = progress.step
                last = step == config.steps
                logs = step % config.log_every == 0 or last
                # Several processes must agree on stopping, which costs a message: then only
                # where the log waits for the device anyway.
                asked = stop.requested
                if self.world.size > 1:
                    asked = logs and any_process(asked, self.world)
                validates = bool(config.validate_every) and (
                    step % config.validate_every == 0 or last
                )
                saves = bool(config.checkpoint_every) and step % config.checkpoint_every == 0
                if logs or asked or validates or saves:
                    self._flush()
                if validates and self._validate():
                    return "stopped early"
                if (saves or asked) and not last:
                    self._save()
                if asked and not last:
                    return "interrupted"
        finally:
            batches.close()
        return "complete"

    def save_adapter(self, folder: Path | None = None) -> None:
        """Write the weights: the best of the validations where those wait, else as they are now.

        Raises:
            OSError: They cannot be written.
        """
        if not self.world.is_main:
            return
        if self.best is not None:
            self.model.load_state_dict(self.best)
        self.model.save(folder or self.out, extra={"scales": self.run.scales.to_list()})
        self.best = None

    def note(self, text: str) -> None:
        """Tell the caller a sentence, once."""
        if text not in self._told:
            self._told.add(text)
            self.emit("note", {"text": text})

    def emit(self, kind: Any, values: Mapping[str, Any]) -> None:
        """Tell the caller what happened."""
        if self._on_event is not None:
            steps = self.config.steps
            self._on_event(
                TrainEvent(kind=kind, step=self.progress.step, steps=steps, values=values)
            )

    def _open_feed(self) -> Feed:
        """Open a source per cache, and the feed that reads from them."""
        run, config = self.run, self.config
        remaining = (config.steps - self.progress.step) * config.sampling.batch_size
        opened = [
            open_source(
                config.source,
                cache,
                run.sampler.image_rows(at),
                run.sampler.view_indices(at),
                self.world.device,
                reads=remaining // len(run.caches),
            )
            for at, cache in enumerate(run.caches)
        ]
        self.kinds = tuple(kind for kind, _ in opened)
        return Feed(
            run.caches,
            run.sampler,
            run.scales,
            [source for _, source in opened],
            self.world.device,
            rank=self.world.rank,
            world=self.world.size,
        )

    def _step(self, batch: TrainBatch) -> None:
        """Update once."""
        config, progress = self.config, self.progress
        set_learning_rate(self.optimizer, learning_rate(config.optim, progress.step, config.steps))
        torch.manual_seed(step_seed(config.seed, progress.step, self.world.rank))
        losses = self._batch_losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(losses.total))
        sum_gradients(self._parameters, self.world)
        self._scaler.unscale_(self.optimizer)
        norm = gradient_norm(self._parameters, config.optim.clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        progress.step += 1
        self.images += len(batch.plan)
        self._pending.append((batch.plan, torch.stack([*losses, norm]).detach()))

    def _batch_losses(self, batch: TrainBatch) -> Losses:
        """Compute the losses of a batch."""
        losses = comparison_losses if batch.plan.compared else self._losses
        return losses(
            self.model,
            self.run.loss,
            self.world,
            batch.image_tokens,
            batch.text_tokens,
            batch.targets,
            self._autocast,
        )

    def _flush(self) -> None:
        """Fetch the pending losses, check that they are finite, and log their mean."""
        if not self._pending:
            return
        values = torch.stack([v for _, v in self._pending]).double().cpu().numpy()  # [n, 5]
        elapsed = time.perf_counter() - self._clock
        finite = np.isfinite(values[:, 0])
        if not finite.all():
            self._refuse(self._pending[int(np.flatnonzero(~finite)[0])][0])
        self.progress.seconds += elapsed
        self.seconds += elapsed
        self.last = dict(zip(LOSS_NAMES, values.mean(axis=0).tolist(), strict=True))
        self._record(
            "step",
            {
                "kind": "train",
                **self.last,
                "lr": self.optimizer.param_groups[0]["lr"],
                "step_ms": 1000 * elapsed / len(self._pending),
                "images_per_second": sum(len(plan) for plan, _ in self._pending) / elapsed,
                "peak_memory": peak_memory(self.world.device),
            },
        )
        self._pending.clear()

    def _refuse(self, plan: Batch) -> None:
        """Stop at a loss that is not finite."""
        known = [one.values[~np.isnan(one.values)] for one in plan.labeled]
        values = np.concatenate(known)
        more = f" and {len(plan.others)} more" if plan.others else ""
        raise TrainingError(
            f"the loss of step {plan.step} is not finite (query {plan.query!r}{more}, {len(plan)} "
            f"images, targets {values.min():g} to {values.max():g}); lower the learning "
            "rate, or use bf16 or fp32 instead of fp16. A saved state is from an earlier step"
        )

    def _estimate(self, feed: Feed) -> None:
        """Before hours on a CPU: time a step, which changes nothing, and tell what is to come."""
        progress, config = self.progress, self.config
        count = sum(p.numel() for p in self._parameters)
        remaining = config.steps - progress.step
        if self.world.device.type != "cpu" or count < LARGE or remaining < 2:
            return
        self.model.train()
        seconds = math.inf
        for batch in feed.batches(progress.step, progress.step + 1):
            for _ in range(2):  # the first one also warms up
                start = time.perf_counter()
                torch.manual_seed(step_seed(config.seed, progress.step, self.world.rank))
                torch.autograd.backward(self._batch_losses(batch).total)
                self.optimizer.zero_grad(set_to_none=True)
                seconds = min(seconds, time.perf_counter() - start)
        self.emit(
            "estimate",
            {
                "step_seconds": seconds,
                "seconds": seconds * remaining,
                "parameters": count,
                "width": self.model.config.width,
            },
        )

    def _validate(self) -> bool:
        """Validate, keep the best weights; returns whether patience has run out."""
        config, progress = self.config, self.progress
        value: float | None = None
        if self.world.is_main:
            value = validation_value(
                self.model,
                self.run.caches,
                self.run.validation,
                self.run.scales,
                config.select_by,
                device=self.world.device,
                precision=self.run.precision,
            )
            value = None if math.isnan(value) else value
        value = broadcast_object(value, self.world)
        sign = -1.0 if config.select_by == "mae" else 1.0
        if value is not None and (
            progress.best_value is None or sign * value > sign * progress.best_value
        ):
            progress.best_value, progress.best_step, progress.stale = value, progress.step, 0
            self._keep_best()
        elif value is not None:
            progress.stale += 1
        else:  # it says nothing about the weights, so it does not count for patience either
            self.note(
                f"validation: {config.select_by} is undefined at step {progress.step} (predictions "
                "are equal); it is not counted"
            )
        self._record(
            "validation",
            {
                "kind": "validation",
                config.select_by: value,
                "best": progress.best_value,
                "best_step": progress.best_step,
            },
        )
        self.model.train()
        return bool(config.patience) and progress.stale >= config.patience

    def _keep_best(self) -> None:
        """Write the weights of the best validation; where that fails, keep them in memory."""
        try:
            self.best = None  # these are better
            self.save_adapter()
        except OSError as error:
            self.best = {
                name: value.detach().cpu().clone()
                for name, value in self.model.state_dict().items()
            }
            self._cannot_write("the best weights", error)

    def _cannot_write(self, what: str, error: OSError) -> None:
        """Tell that something was not written; training goes on, and it is tried again."""
        self.note(
            f"{what} could not be written to {self.out} ({reason(error)}); training goes on and "
            "tries again. Free some space, or check the disk"
        )

    def _save(self) -> None:
        """Save the state; the log up to here is made durable with it."""
        self.progress.scaler = self._scaler.state_dict()
        self.unsaved = None
        try:
            if self._log is not None:
                self._log.sync()
            if self.world.is_main:
                save_state(self.out, self.model, self.optimizer, self.progress, self.run.settings())
        except OSError as error:
            self.unsaved = error
            self._cannot_write("the state", error)
        barrier(self.world)
        if self.unsaved is None:
            self.emit("checkpoint", {})
        self._clock = time.perf_counter()

    def _start_values(self) -> dict[str, Any]:
        caches = self.run.cache_records()
        return {
            "device": str(self.world.device),
            "processes": self.world.size,
            "precision": self.run.precision,
            "source": list(self.kinds),
            "parameters": sum(p.numel() for p in self._parameters),
            **{k: sum(s[k] for s in caches) for k in ("queries", "images", "labels", "left_out")},
        }

    def _record(self, kind: Any, record: Mapping[str, Any]) -> None:
        """Log and tell; the clock of the next steps starts afterwards."""
        record = {"step": self.progress.step, **record}
        if self._log is not None:
            try:
                self._log.append(record)
            except OSError as error:
                self._cannot_write("the log", error)
        self.emit(kind, record)
        self._clock = time.perf_counter()

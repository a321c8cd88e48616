"""Training an adapter from cached features.

    summary = train([Path("cache/koniq10k")], Path("run"), "released", LossConfig(), TrainConfig())

A run can stop anywhere. On SIGTERM or Ctrl-C it finishes the step, saves its state and returns;
after SIGKILL, ``resume=True`` goes on from the last saved state. Since batches, views and dropout
are functions of (seed, step), the result is the same, bit for bit on one device, as without the
interruption. Started by ``torchrun``, the processes share each batch; see
:mod:`adapter.training.distributed`.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adapter.errors import ConfigError
from adapter.record import PACKAGES, RUN_FILE, read_record, write_record
from adapter.settings import Preset, TrainConfig, TrainEvent, TrainSummary
from adapter.training.checkpoint import require_same_settings
from adapter.training.distributed import World, barrier, broadcast_object, processes
from adapter.training.environment import reproducible
from adapter.training.log import RunLog
from adapter.training.parts import FOLDER, fit_stack, start_from_part, train_parts
from adapter.training.prepare import Preparation, prepare
from adapter.training.rescue import rescue
from adapter.training.resume import require_same_data
from adapter.training.trainer import End, Trainer
from featcache.devices import machine
from featcache.errors import FeatcacheError, FolderLockedError
from featcache.stopping import StopRequest
from featcache.storage.durable import prepare_target
from featcache.storage.layout import folder_exists
from featcache.storage.lock import alone
from featcache.versions import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.data.comparisons import ComparisonTable
    from adapter.data.labels import FeatureCache
    from adapter.network.config import AdapterConfig
    from adapter.network.losses import LossConfig
    from adapter.stacking.stack import Stack


def train(
    caches: Sequence[str | Path | FeatureCache],
    out: str | Path,
    model: AdapterConfig | Preset,
    loss: LossConfig,
    config: TrainConfig,
    *,
    comparisons: ComparisonTable | None = None,
    on_event: Callable[[TrainEvent], None] | None = None,
    resume: bool = False,
) -> TrainSummary:
    """Train an adapter.

    Args:
        caches: Caches, as paths or opened; their features must be the same.
        out: The run's folder.
        model: Architecture, or the name of a preset; ``image_dim`` and ``text_dim`` are taken
            from the caches. What ``best`` adds to the network is ``TrainConfig.best()``.
        loss: Which losses. A head without a loss is switched off, and the other way round.
        config: Everything else.
        comparisons: Answers beside the labels, or in place of them where there are none.
        on_event: Called with each :class:`TrainEvent`, on the first process.
        resume: Go on from the state in ``out``, if there is one. A finished run stays as it is.

    Returns:
        How the run ended. ``out`` then holds the adapter: the best of the validations, else the
        last weights.

    Raises:
        ConfigError: Settings contradict each other, or ``out`` holds another run.
        LabelsError: The caches' labels or prompts do not allow this run, or a name is not that of
            a split, fold, query or task.
        FingerprintMismatchError: The caches hold different features.
        CheckpointError: The state in ``out`` is damaged, or of a run with other settings, caches
            or labels.
        FolderLockedError: Another process trains in ``out``.
        DiskSpaceError, WriteError: ``out`` cannot be written. Where that happens in the course of
            the run, it goes on and tries again, and at the end writes elsewhere.
        TrainingError: A loss was not finite.
    """
    out = Path(out)
    with processes(config.device) as world, ExitStack() as held:
        run = prepare(caches, model, loss, config, world.device, comparisons)
        finished = _claim_folder(out, run, world, held, resume=resume)
        if finished is not None:
            return finished
        show = on_event if world.is_main else None
        trainer = Trainer(run, out, world, show)
        learned = None
        if config.stack_parts:
            learned = train_parts(run, out, world, show, partial(_loop, resume=resume))
            if learned is None:  # stopped before the first step of the run itself
                return _summary(trainer, "interrupted")
            if config.stack_once:
                start_from_part(trainer, out)
        end = _loop(trainer, resume=resume)
        stack = None
        if learned is not None and end != "interrupted" and world.is_main:
            stack = fit_stack(run, learned)
        return _finish(trainer, end, stack)


def _loop(trainer: Trainer, *, resume: bool) -> End:
    """Do the remaining steps."""
    world = trainer.world
    if resume:
        trainer.restore()
    with ExitStack() as stack:
        log = None
        if world.is_main:
            first = trainer.progress.step if resume else None
            log = RunLog(trainer.out, resume_step=first, tensorboard=trainer.config.tensorboard)
            stack.callback(log.close)
        stack.enter_context(torch.random.fork_rng(devices=_cuda_devices(world)))
        stack.enter_context(reproducible(world.device))
        stop = stack.enter_context(StopRequest())
        return trainer.loop(log, stop)


def _claim_folder(
    out: Path, run: Preparation, world: World, held: ExitStack, *, resume: bool
) -> TrainSummary | None:
    """Write ``run.json``, or recognize an earlier run; returns a finished one's summary.

    The folder stays locked until ``held`` is closed. A finished run needs no lock.
    """
    there = broadcast_object((out / RUN_FILE).exists(), world)
    if folder_exists(out):
        raise ConfigError(f"{out} is a cache; train into another folder")
    if there and not resume:
        raise ConfigError(f"{out} already holds a run; resume it, or train into another folder")
    if there and (finished := _recognize(out, run)) is not None:
        return finished
    if world.is_main and not there:
        prepare_target(out / RUN_FILE)
    _lock(out, world, held)
    if there:
        return _recognize(out, run)  # again: who held the lock may have finished the run
    if world.is_main:
        write_record(out, _record(run, world, None))
    barrier(world)
    return None


def _recognize(out: Path, run: Preparation) -> TrainSummary | None:
    """Compare a run with the one in its folder; returns how that ended, if it is finished."""
    record = read_record(out)
    require_same_data(record, run.cache_records(), run.scales, out)
    require_same_settings(record["settings"], run.settings(), out)
    outcome = record["outcome"]
    if outcome is not None and not outcome["interrupted"]:
        return TrainSummary.from_dict(outcome)
    return None


def _lock(out: Path, world: World, held: ExitStack) -> None:
    """Lock the folder of a run; the first process does it, and all fail together."""
    error = None
    if world.is_main:
        try:
            held.enter_context(alone(out))
        except FeatcacheError as caught:
            error = caught
    if message := broadcast_object("" if error is None else str(error), world):
        raise error or FolderLockedError(message)


def _record(run: Preparation, world: World, outcome: TrainSummary | None) -> dict[str, Any]:
    """Return the content of ``run.json``."""
    return {
        "settings": run.settings(),
        "shards": run.cache_records(),
        "scales": run.scales.to_list(),
        "precision": run.precision,
        "processes": world.size,
        "machine": machine(world.device),
        "versions": versions(*PACKAGES),
        "outcome": None if outcome is None else outcome.to_dict(),
    }


def _summary(trainer: Trainer, end: End) -> TrainSummary:
    """Say how a run ended."""
    progress = trainer.progress
    return TrainSummary(
        folder=trainer.out,
        steps=progress.step,
        interrupted=end == "interrupted",
        stopped_early=end == "stopped early",
        best_step=progress.best_step,
        best_value=progress.best_value,
        seconds=progress.seconds,
        images_per_second=trainer.images / trainer.seconds if trainer.seconds else 0.0,
        losses=trainer.last,
        left_out=sum(s.left_out for s in trainer.run.selections),
        source=trainer.kinds,
    )


def _finish(trainer: Trainer, end: End, stack: Stack | None) -> TrainSummary:
    """Write adapter, stack and outcome; drop the state of a run that is complete."""
    out, world, progress = trainer.out, trainer.world, trainer.progress
    summary = _summary(trainer, end)
    interrupted = summary.interrupted
    if world.is_main:
        record = _record(trainer.run, world, summary)
        try:
            if interrupted and trainer.unsaved is not None:
                raise trainer.unsaved
            if progress.best_step is None or trainer.best is not None:
                trainer.save_adapter()
            if stack is not None:
                stack.save(out)
            write_record(out, record)
            for folder in () if interrupted else (out / "state", out / FOLDER):
                if folder.exists():
                    shutil.rmtree(folder)
        except OSError as error:
            rescue(trainer, record, error, stack, interrupted=interrupted)
    barrier(world)
    trainer.emit("end", summary.to_dict())
    return summary


def _cuda_devices(world: World) -> list[int]:
    """Devices whose generators a run uses, so that they can be put back afterwards."""
    return [world.device.index or 0] if world.device.type == "cuda" else []

"""What adapters say of training images that they have not seen, for the weights of a stack.

The training images are cut into parts. For each part, an adapter is trained on the labels of all
other images, with fewer steps, and predicts the labels of that part. Each of these trainings keeps
its own state, so a stopped run goes on in the part where it was:

    out/parts/part-0/            log and state of the first, while it is trained
    out/parts/part-0.safetensors what it predicted
    out/parts/start/             its weights, where the run starts from them (``stack_once``)

All of it is removed when the run is finished.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from adapter.data.labels import restrict
from adapter.data.sampling import Sampler
from adapter.data.targets import fit_scales
from adapter.errors import CheckpointError
from adapter.evaluation.predict import predict_views
from adapter.network.model import RankingAdapter
from adapter.stacking.fit import Regressions, fit_query, stack_labels
from adapter.stacking.stack import Array, Stack
from adapter.training.checkpoint import reason
from adapter.training.distributed import barrier, broadcast_object
from adapter.training.trainer import Trainer
from featcache.errors import WriteError
from featcache.storage.durable import make_folders, write_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from adapter.data.labels import LabelSelection, QueryLabels
    from adapter.settings import TrainEvent
    from adapter.training.distributed import World
    from adapter.training.prepare import Preparation
    from adapter.training.trainer import End

FOLDER = "parts"
START = "start"


class Learned(NamedTuple):
    """What a stack is fitted to: per cache and query, labels, and predictions [n] for them."""

    labels: tuple[tuple[QueryLabels, ...], ...]
    predictions: tuple[tuple[Array, ...], ...]


def train_parts(
    run: Preparation,
    out: Path,
    world: World,
    on_event: Callable[[TrainEvent], None] | None,
    loop: Callable[[Trainer], End],
) -> Learned | None:
    """Train one adapter per part, or go on with that, and predict what each has not seen.

    Args:
        run: The whole run.
        out: Its folder.
        world: The processes.
        on_event: Told of the steps of each part.
        loop: Does the remaining steps of a training, from its saved state on.

    Returns:
        Predictions for every label; NaN where a part leaves a query no label to learn from. None
        when a signal ended the training of a part; then its state is saved.

    Raises:
        LabelsError: There are fewer images than parts.
        WriteError: What was learned cannot be written.
    """
    config = run.config
    labels = tuple(stack_labels(s, config.sampling, config.seed) for s in run.selections)
    found = tuple(tuple(np.full(len(q.rows), np.nan) for q in chosen) for chosen in labels)
    trained = 1 if config.stack_once else config.stack_parts
    for part in range(trained):
        path = out / FOLDER / f"part-{part}.safetensors"
        if not broadcast_object(path.exists(), world):
            if world.is_main:
                make_folders(path.with_suffix(""))
            trainer = Trainer(without_part(run, part), path.with_suffix(""), world, on_event)
            trainer.note(
                f"adapter {part + 1} of {trained + 1}, without part {part + 1} of the images: for "
                "the weights of the stack"
            )
            if loop(trainer) == "interrupted":
                if trainer.unsaved is not None:
                    raise WriteError(
                        f"{out} could not be written ({reason(trainer.unsaved)}). What was saved "
                        "before is kept: free some space, then give the same command with --resume"
                    ) from trainer.unsaved
                return None
            if world.is_main:
                if config.stack_once:
                    trainer.save_adapter(out / FOLDER / START)
                write_bytes(path, save(_predict(run, trainer, part, labels)))
                shutil.rmtree(path.with_suffix(""))
            barrier(world)
        _fill(found, path, run, part, labels)
    return Learned(labels, found)


def start_from_part(trainer: Trainer, out: Path) -> None:
    """Give a run the weights of the first part's adapter; a saved state goes before them."""
    trainer.model.load_state_dict(RankingAdapter.load(out / FOLDER / START).state_dict())


def fit_stack(run: Preparation, learned: Learned) -> Stack:
    """Fit the regression and the weights of every query."""
    found = []
    for number, cache in enumerate(run.caches):
        rows = [labels.rows for labels in learned.labels[number]]
        regressions = Regressions(cache, run.trained_views(number), np.concatenate(rows))
        pairs = zip(learned.labels[number], learned.predictions[number], strict=True)
        found += [fit_query(regressions, number, labels, adapter) for labels, adapter in pairs]
    return Stack(queries=tuple(found))


def without_part(run: Preparation, part: int) -> Preparation:
    """Return the training of a part: fewer images, and units of their labels; fewer steps."""
    config = run.config
    selections = [
        restrict(
            selection, part_images(selection, config.stack_parts, part, config.seed), inside=False
        )
        for selection in run.selections
    ]
    named = [(c.dataset, s) for c, s in zip(run.caches, selections, strict=True)]
    steps = round(config.stack_steps * config.steps)
    return replace(
        run,
        config=replace(
            config, steps=steps, stack_parts=0, stack_once=False, validate_every=0, patience=0
        ),
        selections=selections,
        validation=[],
        scales=fit_scales(named, config.target_scale),
        sampler=Sampler(selections, [c.views for c in run.caches], config.sampling, config.seed),
        notes=(),
    )


def part_images(selection: LabelSelection, parts: int, part: int, seed: int) -> NDArray[np.int64]:
    """Return the images of a part, whole images over all queries: int64, sorted."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    return np.sort(generator.permutation(selection.image_rows)[part::parts])


def _held(
    run: Preparation, part: int, labels: tuple[tuple[QueryLabels, ...], ...]
) -> list[list[NDArray[np.bool_]]]:
    """Mark, per cache and query, the labels [n] of a part."""
    config = run.config
    return [
        [
            np.isin(q.rows, part_images(selection, config.stack_parts, part, config.seed))
            for q in chosen
        ]
        for selection, chosen in zip(run.selections, labels, strict=True)
    ]


def _predict(
    run: Preparation, trainer: Trainer, part: int, labels: tuple[tuple[QueryLabels, ...], ...]
) -> dict[str, Array]:
    """Predict the labels of a part, by number of cache and query."""
    found = {}
    model = trainer.model.eval()
    for number, held in enumerate(_held(run, part, labels)):
        known = {(q.task, q.query) for q in trainer.run.selections[number].queries}
        for at, (query, mask) in enumerate(zip(labels[number], held, strict=True)):
            if (query.task, query.query) not in known or not mask.any():
                continue
            scores = predict_views(
                model,
                run.caches[number],
                query.rows[mask],
                query.query,
                ["score"],
                run.trained_views(number),
                device=trainer.world.device,
                precision=run.precision,
            )["score"]
            scale = trainer.run.scales.of_task(number, query.task)
            found[f"{number}/{at}"] = scale.restore(scores)
    return found


def _fill(
    found: tuple[tuple[Array, ...], ...],
    path: Path,
    run: Preparation,
    part: int,
    labels: tuple[tuple[QueryLabels, ...], ...],
) -> None:
    """Put the predictions of a part where they belong."""
    try:
        saved = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); remove it") from error
    held = _held(run, part, labels)
    for name, values in saved.items():
        number, at = map(int, name.split("/"))
        found[number][at][held[number][at]] = values

"""Several seeds and folds in one command: runs side by side, then mean and spread.

out/fold-0/seed-0/   a run, as `adapter train` makes it
out/fold-0/seed-1/
out/many.json        metrics of every run, their mean and their standard deviation
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from adapter.data.selectors import choose_fold, choose_splits
from adapter.errors import ConfigError
from adapter.evaluation.evaluate import evaluate
from adapter.evaluation.spread import Spread
from adapter.record import RUN_FILE
from adapter.stored import open_caches
from adapter.training.distributed import is_main_process
from adapter.training.train import train
from featcache.storage.durable import write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter.data.comparisons import ComparisonTable
    from adapter.data.labels import FeatureCache
    from adapter.evaluation.predict import By
    from adapter.evaluation.results import Evaluation
    from adapter.network.config import AdapterConfig
    from adapter.network.losses import LossConfig
    from adapter.settings import Preset, TrainConfig, TrainEvent, TrainSummary


# Calls a function, whose results are files, with each of some arguments.
Spreader: TypeAlias = "Callable[[Callable[..., None], Sequence[tuple[Any, ...]]], None]"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One run of several.

    Attributes:
        fold: Its fold; None where the data set has none.
        seed: Its seed.
        summary: How it ended.
        evaluation: Its metrics; None when it was interrupted, and on all processes but the first.
    """

    fold: int | None
    seed: int
    summary: TrainSummary
    evaluation: Evaluation | None

    @property
    def title(self) -> str:
        """What people call it."""
        return f"seed {self.seed}" if self.fold is None else f"fold {self.fold}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class SweepSummary:
    """All runs together.

    Attributes:
        folder: Where they are.
        members: Every run, folds before seeds.
        interrupted: A signal ended the last of them; the rest was not begun.
    """

    folder: Path
    members: tuple[Member, ...]
    interrupted: bool

    @cached_property
    def spread(self) -> Spread:
        """Mean and spread of the runs that were evaluated."""
        return Spread(
            evaluations=tuple(m.evaluation for m in self.members if m.evaluation is not None)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "interrupted": self.interrupted,
            "spread": self.spread.to_dict(),
            "notes": list(self.spread.notes),
            "runs": [
                {
                    "fold": m.fold,
                    "seed": m.seed,
                    "summary": m.summary.to_dict(),
                    "evaluation": None if m.evaluation is None else m.evaluation.to_dict(),
                }
                for m in self.members
            ],
        }


def _folder(out: Path, fold: int | None, seed: int) -> Path:
    """Return the folder of a run."""
    return (out if fold is None else out / f"fold-{fold}") / f"seed-{seed}"


def _train_one(
    caches: Sequence[FeatureCache],
    out: Path,
    model: AdapterConfig | Preset,
    loss: LossConfig,
    config: TrainConfig,
    comparisons: ComparisonTable | None,
) -> None:
    """Train one run in another process, or go on with it after that process has died."""
    train(caches, out, model, loss, config, comparisons=comparisons, resume=True)


def train_sweep(
    caches: Sequence[str | Path | FeatureCache],
    out: str | Path,
    model: AdapterConfig | Preset,
    loss: LossConfig,
    config: TrainConfig,
    *,
    comparisons: ComparisonTable | None = None,
    seeds: Sequence[int] = (0,),
    folds: Sequence[int | None] = (None,),
    split: Sequence[str] = ("test",),
    by: Sequence[By] | None = None,
    on_event: Callable[[TrainEvent], None] | None = None,
    on_member: Callable[[Member], None] | None = None,
    resume: bool = False,
    spread: Spreader | None = None,
) -> SweepSummary:
    """Train and evaluate once per fold and seed.

    Args:
        caches: As for :func:`adapter.training.train.train`.
        out: Holds one folder per run.
        model: As for ``train``.
        loss: As for ``train``.
        config: As for ``train``; its seed and fold are replaced.
        comparisons: As for ``train``.
        seeds: Seeds.
        folds: Folds; ``(None,)`` for a data set without.
        split: Splits to evaluate, such as ``test``.
        by: How to rank; every way that there is a head for when left out.
        on_event: Told of each run's events.
        on_member: Told of each run when it is evaluated.
        resume: Go on where an earlier call stopped; finished runs stay as they are.
        spread: Calls a function with each of some arguments, on several processes: there the runs
            are trained side by side. None trains them here, one after the other.

    Returns:
        Every run with its metrics; also written to ``out/many.json``.

    Raises:
        ConfigError: No seed or no fold is given, or one is given twice.
        LabelsError: There are no labels of a fold, or of the split that is evaluated.
    """
    for name, values in {"seeds": seeds, "folds": folds}.items():
        if not values or len(set(values)) < len(values):
            raise ConfigError(f"{name}: give at least one, each once, not {list(values)}")
    out = Path(out)
    caches = open_caches(caches, verify_rows=config.verify_rows)
    split = choose_splits(caches, split)  # before hours of training, not after them
    for fold in folds:
        choose_fold(caches, fold)
    members: list[Member] = []
    interrupted = False
    chosen = [(fold, seed) for fold in folds for seed in seeds]
    configs = [dataclasses.replace(config, seed=seed, fold=fold) for fold, seed in chosen]
    places = [_folder(out, fold, seed) for fold, seed in chosen]
    if spread is not None:
        if not resume and (there := [place for place in places if (place / RUN_FILE).exists()]):
            raise ConfigError(
                f"{there[0]} already holds a run; resume it, or train into another folder"
            )
        each = zip(places, configs, strict=True)
        spread(_train_one, [(caches, place, model, loss, one, comparisons) for place, one in each])
        resume = True  # what is there now is finished
    for (fold, seed), place, one in zip(chosen, places, configs, strict=True):
        summary = train(
            caches,
            place,
            model,
            loss,
            one,
            comparisons=comparisons,
            on_event=on_event,
            resume=resume,
        )
        interrupted = summary.interrupted
        evaluation = None
        if not interrupted and is_main_process():
            evaluation = evaluate(
                summary.folder,
                caches,
                split=split,
                by=by,
                device=config.device,
                precision=config.precision,
            )
            write_json(summary.folder / "eval.json", evaluation.to_dict())
        member = Member(fold=fold, seed=seed, summary=summary, evaluation=evaluation)
        members.append(member)
        if on_member is not None:
            on_member(member)
        if interrupted:
            break
    result = SweepSummary(folder=out, members=tuple(members), interrupted=interrupted)
    if is_main_process():
        write_json(out / "many.json", result.to_dict())
    return result

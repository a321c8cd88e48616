"""From caches and settings to everything that a training loop needs, checked before it starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, get_args

from adapter.data.comparisons import ComparisonSelection, select_comparisons
from adapter.data.feed import token_layout
from adapter.data.identity import cache_path, describe, labels_digest
from adapter.data.labels import NO_LABELS, LabelSelection, has_labels, hold_out, select_labels
from adapter.data.pools import counting
from adapter.data.sampling import Sampler, relevant_labels, require_prompts
from adapter.data.selectors import choose_fold, choose_patterns, choose_splits
from adapter.data.targets import TargetScales, comparison_scales, fit_scales
from adapter.data.usable import equal_labels, undefined_validation
from adapter.errors import ConfigError, LabelsError
from adapter.names import clean_names
from adapter.network.config import AdapterConfig, match_heads
from adapter.settings import Preset, TrainConfig
from adapter.stored import open_caches
from adapter.training.environment import slow_precision
from featcache.devices import choose_precision
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from adapter.data.comparisons import ComparisonTable
    from adapter.data.labels import FeatureCache
    from adapter.network.losses import LossConfig
    from featcache.devices import Precision


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What a run is made of.

    Attributes:
        config: Settings of the run.
        model: Architecture, fitted to the caches' widths and to the losses.
        loss: Losses, fitted to the architecture's heads.
        precision: Of the network, on the run's device.
        caches: Opened; all hold the same features.
        selections: Training labels per cache.
        validation: Validation labels per cache; empty without validation.
        comparisons: Per cache; empty without a table of them.
        scales: Units of the targets.
        sampler: What batch k holds.
        notes: What whoever waits for the run should know, one sentence each.
    """

    config: TrainConfig
    model: AdapterConfig
    loss: LossConfig
    precision: Precision
    caches: Sequence[FeatureCache]
    selections: Sequence[LabelSelection]
    validation: Sequence[LabelSelection]
    scales: TargetScales
    sampler: Sampler
    comparisons: Sequence[ComparisonSelection] = ()
    notes: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Everything that determines the result, as JSON values."""
        return {
            "model": self.model.to_dict(),
            "loss": self.loss.to_dict(),
            "train": self.config.to_dict(),
            "features": self.caches[0].fingerprint.to_dict(),
        }

    def trained_views(self, number: int) -> list[str]:
        """Name the views of a cache that batches draw from."""
        views = self.caches[number].views
        return [views[at] for at in self.sampler.view_indices(number)]

    def cache_records(self) -> list[dict[str, Any]]:
        """What each cache contributes, as JSON values."""
        records = [
            {
                **describe(cache),
                "labels_digest": labels_digest(selection, held),
                "fingerprint": cache.fingerprint.to_dict(),
                "backbone": _backbone(cache),
                "queries": len(selection.queries),
                "images": len(selection.image_rows),
                "labels": sum(len(q.rows) for q in selection.queries),
                "left_out": selection.left_out,
            }
            for cache, selection, held in zip_longest(self.caches, self.selections, self.validation)
        ]
        for record, compared in zip(records, self.comparisons, strict=False):
            record["comparisons"] = len(compared)
            record["comparisons_digest"] = compared.digest
        return records


def prepare(
    caches: Sequence[str | Path | FeatureCache],
    model: AdapterConfig | Preset,
    loss: LossConfig,
    config: TrainConfig,
    device: torch.device,
    table: ComparisonTable | None = None,
) -> Preparation:
    """Open caches, choose labels, fit the architecture; arguments and errors as ``train``."""
    caches = open_caches(caches, verify_rows=config.verify_rows)
    config = _with_known_names(caches, config, table)
    comparisons: list[ComparisonSelection] = []
    missing = 0
    if table is not None:
        comparisons, missing = select_comparisons(caches, table, config.queries)
    selections, validation = [], []
    for cache in caches:
        selection, held = _labels(cache, config, compared=table is not None)
        selections.append(selection)
        validation += [held] if held is not None else []
    sampler = Sampler(
        selections, [c.views for c in caches], config.sampling, config.seed, comparisons
    )
    for at, cache in enumerate(caches):
        prompts = [q.query for held in validation[at : at + 1] for q in held.queries]
        require_prompts(cache, [*sampler.prompts(at), *prompts], cache_path(cache))
    notes = equal_labels(caches, selections)
    if missing:
        notes.append(f"left out: {quantity(missing, 'comparison')} of images without features")
    if config.validate_every:
        notes += undefined_validation(caches, validation, config.select_by)
    fitted = match_widths(model, caches[0], sampler.prompts(0)[0])
    architecture, loss = match_heads(fitted, loss)
    if loss.presence and config.target_scale != "none":
        raise ConfigError(
            "the presence loss reads a score as the log odds of a value above zero, which needs "
            "raw targets: set target_scale none"
        )
    if config.stack_parts and table is not None:
        raise ConfigError(
            "a stack needs labels, and comparisons are not labels: set train.stack_parts=0"
        )
    for cache, selection in zip(caches, selections, strict=True):
        if config.stack_parts and len(selection.image_rows) == 1:
            raise LabelsError(
                f"{cache_path(cache)}: one labeled image to train on, and a stack needs two; label "
                "more, or train an adapter alone: --preset released (train.stack_parts=0)"
            )
    if config.stack_parts and not architecture.score_head:
        raise ConfigError(
            "a stack adds a regression to the adapter's scores, and the loss or score_head has "
            "switched them off: set train.stack_parts=0"
        )
    precision = choose_precision(config.precision, device)
    if slow := slow_precision(precision, device):
        notes.append(slow)
    return Preparation(
        config=config,
        model=architecture,
        loss=loss,
        precision=precision,
        caches=caches,
        selections=selections,
        validation=validation,
        scales=comparison_scales(
            fit_scales(
                [(c.dataset, s) for c, s in zip(caches, selections, strict=True)],
                config.target_scale,
            ),
            [(c.dataset, s) for c, s in zip(caches, comparisons, strict=False)],
        ),
        sampler=sampler,
        comparisons=comparisons,
        notes=tuple(notes),
    )


def _with_known_names(
    caches: Sequence[FeatureCache], config: TrainConfig, table: ComparisonTable | None
) -> TrainConfig:
    """Clean the names in settings; each must be that of something in some cache, or asked."""
    asked = () if table is None else table.questions
    sampling, default = config.sampling, TrainConfig()
    validation = clean_names(config.validation_split, commas=True)
    if validation != default.validation_split:
        validation = choose_splits(caches, validation)
    counting_tasks = clean_names(sampling.counting_tasks)
    if counting_tasks != default.sampling.counting_tasks:
        counting_tasks = choose_patterns(caches, "task", counting_tasks)
    return replace(
        config,
        split=config.split if table is not None else choose_splits(caches, config.split),
        validation_split=validation,
        queries=choose_patterns(caches, "query", config.queries, asked),
        tasks=choose_patterns(caches, "task", config.tasks),
        fold=choose_fold(caches, config.fold),
        sampling=replace(
            sampling,
            views=clean_names(sampling.views, commas=True),
            counting_tasks=counting_tasks,
        ),
    )


def _backbone(cache: FeatureCache) -> dict[str, Any] | None:
    """Return how a cache's backbone is loaded, if the cache says so."""
    manifest = getattr(cache, "manifest", None)
    return None if manifest is None else dict(manifest.backbone)


def match_widths(model: AdapterConfig | Preset, cache: FeatureCache, prompt: str) -> AdapterConfig:
    """Fit an architecture, or a preset by name, to the widths of a cache's features."""
    image_dim = token_layout(cache)[0][-1]
    text_dim = int(cache.prompt(prompt).tokens.shape[-1])
    if isinstance(model, AdapterConfig):
        return model.replace(image_dim=image_dim, text_dim=text_dim)
    if model not in get_args(Preset):
        raise ConfigError(f"no preset {model!r}; there are {', '.join(get_args(Preset))}")
    preset = AdapterConfig.paper if model == "paper" else AdapterConfig.released
    return preset(image_dim=image_dim, text_dim=text_dim)


def _labels(
    cache: FeatureCache, config: TrainConfig, *, compared: bool
) -> tuple[LabelSelection, LabelSelection | None]:
    """Choose a cache's training labels and, if the run validates, its validation labels.

    A run that has comparisons needs no labels.
    """
    if compared and (
        config.sampling.comparison_share == 1
        or not has_labels(cache, config.split, config.queries, config.tasks)
    ):
        if config.validate_every:
            raise ConfigError(
                f"{cache_path(cache)}: validation needs labels that are trained on; set "
                "train.validate_every=0"
            )
        return NO_LABELS, None

    def choose(split: tuple[str, ...]) -> LabelSelection:
        return select_labels(
            cache, split=split, fold=config.fold, queries=config.queries, tasks=config.tasks
        )

    selection = choose(config.split)
    if not config.validate_every:
        return selection, None
    if set(cache.labels["split"].unique().to_pylist()) & set(config.validation_split):
        held = choose(config.validation_split)
        # A task that is not trained has no unit, and nothing to say on which weights are best.
        trained = {q.task for q in selection.queries}
        held = replace(held, queries=tuple(q for q in held.queries if q.task in trained))
        if not held.queries:
            raise ConfigError(
                f"{cache_path(cache)}: no label of the split {', '.join(config.validation_split)} "
                f"is of a task that is trained ({', '.join(sorted(trained))}); set "
                "train.validation_split, or train.validate_every=0"
            )
    else:
        selection, held = hold_out(selection, config.hold_out, config.seed)
    if config.sampling.relevance:
        # Distance to a count of zero is the count itself: one prompt, the usual order.
        counts = [q for q in held.queries if counting(q.task, config.sampling.counting_tasks)]
        held = replace(held, queries=tuple(relevant_labels(q, 0) for q in counts))
    return selection, held

"""Settings of a training run, what it reports while it runs, and how it ended.

Nothing here imports torch, so that a command line can show the defaults at once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from adapter.errors import ConfigError
from featcache.configuration import Configuration, newer
from featcache.devices import Precision

if TYPE_CHECKING:
    from collections.abc import Mapping

SourceKind = Literal["auto", "disk", "ram", "device"]
TargetScaling = Literal["standardize", "none"]
Preset = Literal["released", "paper", "best"]


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(Configuration):
    """How batches are drawn.

    Attributes:
        batch_size: Images per batch, of all processes together; fewer if a query has fewer.
        queries_per_batch: With more than 1, the images of a batch are drawn by several
            queries of one cache, in turn, and each image is labeled by all of them that have a
            label for it.
            The part of the network that reads no prompt runs once per image. A step costs about
            as much as a step with that many times ``batch_size`` images, so take fewer images.
        balance: ``values`` gives every value of a query the same probability, ``none`` every
            image.
        value_bins: Labels with more distinct values than this are balanced over quantile bins.
        negative_ratio: Share of a counting query's batch that has a true count of zero. Other
            queries never get negatives. With 0, labels are drawn without adding zeros.
        counting_tasks: Shell patterns of the tasks whose labels are counts.
        false_negatives: ``excluded`` takes as negatives only images known to lack the category:
            those labeled zero or, in a task without any zero, those labeled for its other
            queries only. ``released`` takes any other label row of the task, with replacement
            and with target zero even if its image holds the category, as the released
            ``CsvDataset`` does.
        weights: Probability of each data set, up to a factor; empty means equal.
        views: Names of the views to draw from; empty means all that the cache holds.
        relevance: Train on "relevance to a count" (the paper's B.1): per batch a reference r in
            0 … ``relevance_max`` is drawn, the prompt names it, and the target is |y - r|.
        relevance_max: Largest reference count.
        comparison_share: If a run has both labels and comparisons, the probability that a batch
            holds comparisons. With 1, labels are not read.
    """

    _title: ClassVar[str] = "sampling settings"
    _error: ClassVar[type[Exception]] = ConfigError

    batch_size: int = 64
    queries_per_batch: int = 1
    balance: Literal["values", "none"] = "values"
    value_bins: int = 32
    negative_ratio: float = 0.2
    counting_tasks: tuple[str, ...] = ("count", "count-*", "counting")
    false_negatives: Literal["excluded", "released"] = "excluded"
    weights: tuple[float, ...] = ()
    views: tuple[str, ...] = ()
    relevance: bool = False
    relevance_max: int = 12
    comparison_share: float = 0.5

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        self._require_at_least(1, "batch_size", "queries_per_batch", "value_bins")
        self._require_at_least(0, "relevance_max")
        if self.relevance and self.queries_per_batch > 1:
            raise ConfigError(
                "relevance draws one query and one count; set sampling.queries_per_batch=1"
            )
        if not 0 <= self.negative_ratio < 1:
            raise ConfigError(f"negative_ratio must be in [0, 1), not {self.negative_ratio}")
        if not 0 < self.comparison_share <= 1:
            raise ConfigError(f"comparison_share must be in (0, 1], not {self.comparison_share}")
        if min(self.weights, default=0) < 0 or (self.weights and sum(self.weights) == 0):
            raise ConfigError(f"weights must be positive numbers, not {self.weights}")


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Configuration):
    """How weights are updated.

    Attributes:
        lr: Largest learning rate, reached after the warm-up. The paper's 1e-5 belongs to
            144,000 steps; the default suits some thousands.
        weight_decay: Decoupled decay of the parameters that ``decay`` names.
        decay: ``matrices`` decays weight matrices only; ``released`` decays every parameter of
            two or more dimensions, prompt and relation tokens included, as the released code
            does. Biases and norms are never decayed.
        betas: Momentum of gradient and squared gradient.
        eps: Added to the root of the second moment.
        amsgrad: Divide by the largest second moment so far (released).
        warmup: Steps of linear growth, or, below 1, a share of all steps.
        schedule: ``cosine`` to zero, or ``constant``, after the warm-up.
        clip_norm: Largest norm of the whole gradient; None does not limit it (released).
    """

    _title: ClassVar[str] = "optimizer settings"
    _error: ClassVar[type[Exception]] = ConfigError

    lr: float = 2e-4
    weight_decay: float = 0.01
    decay: Literal["matrices", "released"] = "matrices"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    amsgrad: bool = True
    warmup: float = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float | None = 1.0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        self._require_at_least(0, "lr", "weight_decay", "warmup")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas must be in [0, 1), not {self.betas}")
        if self.eps <= 0:
            raise ConfigError(f"eps must be positive, not {self.eps}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ConfigError(f"clip_norm must be positive, or none, not {self.clip_norm}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Configuration):
    """Everything about a run but the architecture and the losses.

    Attributes:
        steps: Updates.
        seed: Determines initial weights, batches and dropout.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: Of the network: ``fp32``, ``bf16`` or ``fp16`` autocast; ``auto`` is fp32 on
            a CPU and 16 bits on a GPU. Weights and losses are float32.
        compile: Compile the step with ``torch.compile``: a minute at the start, for less time
            per step on a GPU.
        source: Where tokens are read from; see :mod:`adapter.data.feed`.
        verify_rows: Compare each image's features with their digest when they are first read.
        queries: Names or shell patterns of the queries to train on; empty means all.
        tasks: The same for tasks.
        split: Splits whose labels are trained on.
        fold: Which fold, for data sets that have several.
        target_scale: ``standardize`` targets per task, or ``none`` (released).
        validation_split: Splits whose labels choose the best weights.
        hold_out: Share of the training images to validate on, if no label has a validation
            split.
        validate_every: Steps between validations; 0 for none.
        select_by: The metric that chooses the best weights, averaged over queries.
        patience: Stop after this many validations without improvement; 0 never stops early.
        checkpoint_every: Steps between saved states; 0 saves only when interrupted.
        log_every: Steps between lines of the log, each the mean over those steps.
        tensorboard: Also log for TensorBoard.
        stack_parts: Add ridge regression on the same features (straight lines and smooth
            curves) to the adapter, with weights per query. To find the weights, the training
            images are cut into this number of parts, and for each part an adapter is trained
            without it. 0 uses the adapter without ridge regression.
        stack_steps: Steps of these adapters, as a share of ``steps``.
        stack_once: Only the first part gets an adapter, and this adapter is not thrown away: the
            run starts from its weights, with all images. Weights then rest on fewer images, and
            no step is lost; for runs of few steps.
        sampling: How batches are drawn.
        optim: How weights are updated.
    """

    _title: ClassVar[str] = "training settings"
    _error: ClassVar[type[Exception]] = ConfigError

    steps: int = 2000
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"
    compile: bool = False
    source: SourceKind = "auto"
    verify_rows: bool = False
    queries: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    split: tuple[str, ...] = ("train",)
    fold: int | None = None
    target_scale: TargetScaling = "standardize"
    validation_split: tuple[str, ...] = ("val",)
    hold_out: float = 0.1
    validate_every: int = 0
    select_by: Literal["srcc", "plcc", "kendall", "pairwise", "mae"] = "srcc"
    patience: int = 0
    checkpoint_every: int = 1000
    log_every: int = 10
    tensorboard: bool = False
    stack_parts: int = 0
    stack_steps: float = 0.6
    stack_once: bool = newer(False)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        self._require_at_least(0, "steps", "seed", "validate_every", "patience", "checkpoint_every")
        self._require_at_least(1, "log_every")
        if not 0 < self.hold_out < 1:
            raise ConfigError(f"hold_out must be between 0 and 1, not {self.hold_out}")
        if self.patience and not self.validate_every:
            raise ConfigError("patience needs validations; set validate_every")
        if self.stack_parts < 0 or self.stack_parts == 1:
            raise ConfigError(f"stack_parts must be 0, or at least 2, not {self.stack_parts}")
        if not 0 < self.stack_steps <= 1:
            raise ConfigError(f"stack_steps must be above 0 and at most 1, not {self.stack_steps}")
        if self.stack_once and not self.stack_parts:
            raise ConfigError("stack_once needs parts; set train.stack_parts=5, for instance")
        if self.stack_parts and self.sampling.relevance:
            raise ConfigError(
                "a stack predicts labels, not distances to a count; set train.stack_parts=0"
            )

    @classmethod
    def released(cls, **changes: Any) -> Self:
        """Return the adapter alone, as the authors have it."""
        return cls.build(**changes)

    paper = released

    @classmethod
    def best(cls, **changes: Any) -> Self:
        """Return the adapter with ridge regression added to it."""
        return cls.build(**({"stack_parts": 3} | changes))


def current_settings(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a file, which may be older than this code, in today's form.

    A respelled value gets its present name. A field that did not exist takes its default, which
    therefore has to mean what was done before there was a choice.
    """
    train = _with_defaults(saved.get("train", {}), TrainConfig().to_dict())
    if train["target_scale"] == "standardise":
        train["target_scale"] = "standardize"
    return {**saved, "train": train}


def _with_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what is missing, in nested objects too."""
    filled = {**defaults, **values}
    for name, default in defaults.items():
        if isinstance(default, dict):
            filled[name] = _with_defaults(filled[name], default)
    return filled


@dataclass(frozen=True, kw_only=True)
class TrainEvent:
    """Something that a caller may want to show.

    Attributes:
        kind: ``start``, ``note`` (a sentence for people, in ``text``), ``estimate`` (on a CPU,
            before the first step: ``step_seconds``, ``seconds``), ``step`` (every ``log_every``
            steps), ``validation``, ``checkpoint`` or ``end``.
        step: Updates done.
        steps: Updates in all.
        values: Numbers and names that belong to it.
    """

    kind: Literal["start", "note", "estimate", "step", "validation", "checkpoint", "end"]
    step: int
    steps: int
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """How a run ended.

    Attributes:
        folder: The run's folder.
        steps: Updates done.
        interrupted: A signal stopped it; ``resume=True`` goes on.
        stopped_early: Validation did not improve any more.
        best_step: Step of the best validation, if there was one.
        best_value: Its value.
        seconds: Time in steps, without preparation.
        images_per_second: Over that time.
        losses: The last logged losses.
        left_out: Labels whose image has no features.
        source: Where tokens were read from, per cache.
    """

    folder: Path
    steps: int
    interrupted: bool
    stopped_early: bool
    best_step: int | None
    best_value: float | None
    seconds: float
    images_per_second: float
    losses: Mapping[str, float]
    left_out: int
    source: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self) | {"folder": str(self.folder), "source": list(self.source)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> TrainSummary:
        """Read what ``to_dict`` gave."""
        return cls(**{**value, "folder": Path(value["folder"]), "source": tuple(value["source"])})

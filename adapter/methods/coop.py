"""CoOp: learned context words in front of each class name; as its paper has it, and as printed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from adapter.methods.method import FoldData, Hyperparameters, require
from adapter.methods.zero_shot import CosineClassifier

if TYPE_CHECKING:
    import torch

WARMUP_RATE = 1e-5  # CoOp's code, configs/trainers/CoOp/rn50.yaml: one epoch at this rate


@dataclass(frozen=True, kw_only=True)
class CoOp(Hyperparameters):
    """Zhou et al., "Learning to prompt for vision-language models", IJCV 2022, equations 2 and 3.

    The prompt of class k is [V]_1 ... [V]_M [name of k]., with context vectors shared by all
    classes, and p(k | x) = softmax_k(exp(t) cos(f(x), g(prompt_k))). The cross-entropy is
    minimized over the context alone, by SGD with a first epoch at a small constant rate and a
    cosine that changes once per epoch (``trainers/coop.py`` and its configs, MIT). Both towers
    stay frozen, as in CoOp. Of its augmentation, flips are here, random crops are not.

    Attributes:
        context: M.
        epochs: Passes over the training images.
        steps: Updates; 0 takes ``epochs``.
        batch_size: Images per update.
        lr: Of SGD, with momentum 0.9 and weight decay 5e-4.
        flips: Draw from every view of the cache.
    """

    context: int = 16
    epochs: int = 200
    steps: int = 0
    batch_size: int = 32
    lr: float = 0.002
    flips: bool = True
    needs_text: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        self._require_at_least(1, "context", "epochs", "batch_size")
        self._require_at_least(0, "steps")
        self._require_positive("lr")

    def fit(self, data: FoldData) -> CosineClassifier:
        """Learn the context."""
        import torch

        from adapter.methods.loop import Schedule
        from adapter.methods.tuning import random_tokens, tune_prompts

        text = data.text()
        template = text.template(self.context, [name.rstrip(".") for name in data.class_names])
        context = random_tokens((self.context, text.width), data.seed, text.device)  # [M, D]
        classes = torch.from_numpy(data.classes_of(data.train)).to(text.device)  # [n]
        schedule = Schedule.of(self, len(classes))

        def prompts() -> torch.Tensor:
            learned = context[None].expand(len(data.class_names), -1, -1)  # [K, M, D]
            return text.encode_soft(template, learned)  # [K, E]

        def loss_of(logits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(logits, classes[batch])

        def factor(step: int) -> float:
            if schedule.steps >= 2 * schedule.epoch and step < schedule.epoch:
                return WARMUP_RATE / self.lr
            return schedule.cosine_by_epoch(step)

        tuned = tune_prompts(
            data,
            {"context": context},
            prompts,
            loss_of,
            torch.optim.SGD([context], lr=self.lr, momentum=0.9, weight_decay=5e-4),
            steps=schedule.steps,
            batch_size=self.batch_size,
            factor=factor,
            flips=self.flips,
        )
        return CosineClassifier.of(data, tuned)

    def quick(self) -> CoOp:
        """Return the same with few steps and learned vectors."""
        return replace(
            self, context=min(self.context, 4), steps=100, batch_size=64, lr=10 * self.lr
        )


@dataclass(frozen=True, kw_only=True)
class CoOpPrinted(Hyperparameters):
    """The row "CoOp" of the ordinal papers, which is not CoOp's own training.

    OrdinalCLIP's code (``configs/meta_cfgs/morph_compare.yaml``,
    ``models/prompt_leaners/plain_prompt_learner.py``, MIT), whose numbers later papers print,
    begins the context with words, trains the embeddings of the class names too, and adds the
    divergence from text to image of :func:`adapter.methods.losses.text_image_kl` to the
    cross-entropy, with RAdam. There the image tower is trained as well; here it stays frozen, so
    expect less than the printed numbers.

    Attributes:
        init_words: What the context begins as.
        epochs: Passes over the training images.
        steps: Updates; 0 takes ``epochs``.
        batch_size: Images per update.
        lr: Of RAdam, with a cosine that changes once per epoch. The original's 1e-4 belongs to a
            trained image tower; with prompts alone, more is needed.
        weight_decay: Of RAdam.
        kl_weight: Of the divergence beside the cross-entropy.
        flips: Draw from every view of the cache.
    """

    init_words: str = "age estimation: the age of the person is"
    epochs: int = 100
    steps: int = 0
    batch_size: int = 32
    lr: float = 0.002
    weight_decay: float = 5e-4
    kl_weight: float = 1.0
    flips: bool = True
    needs_text: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        require(bool(self.init_words.strip()), "init_words must not be empty")
        self._require_at_least(1, "epochs", "batch_size")
        self._require_at_least(0, "steps", "weight_decay", "kl_weight")
        self._require_positive("lr")

    def fit(self, data: FoldData) -> CosineClassifier:
        """Learn context and class names."""
        import torch

        from adapter.methods.tuning import tune_ordinal

        text = data.text()
        names = [name.rstrip(".") for name in data.class_names]
        ids = text.tokenize([f"{self.init_words} {name}." for name in names])  # [K, T]
        first = text.embed(ids)  # [K, T, D]
        size = int(text.word_mask(text.tokenize([self.init_words])).sum())  # words of the context
        words = text.word_mask(ids)  # [K, T]
        stop = words.sum(dim=1)  # [K], the position of the full stop
        places = torch.arange(ids.shape[1], device=text.device)[None]
        of_class = (words & (places > size) & (places < stop[:, None]))[..., None]  # [K, T, 1]
        context = torch.nn.Parameter(first[0, 1 : 1 + size].clone())  # [M, D], shared
        ranks = torch.nn.Parameter(first.clone())  # [K, T, D], read where of_class is true

        def prompts() -> torch.Tensor:
            shared = context[None].expand(len(ids), -1, -1)  # [K, M, D]
            begun = torch.cat([first[:, :1], shared, first[:, 1 + size :]], dim=1)  # [K, T, D]
            return text.encode_embedded(ids, torch.where(of_class, ranks, begun))  # [K, E]

        tuned = tune_ordinal(self, data, {"context": context, "ranks": ranks}, prompts)
        return CosineClassifier.of(data, tuned)

    def quick(self) -> CoOpPrinted:
        """Return the same with few steps."""
        return replace(self, steps=100, batch_size=64, lr=10 * self.lr)

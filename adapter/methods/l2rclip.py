"""L2RCLIP, first stage: rank prompts refined by attention, with ordinal pairwise losses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from adapter.methods.method import FoldData, Hyperparameters
from adapter.methods.zero_shot import CosineClassifier

if TYPE_CHECKING:
    import torch

Axis = Literal["token", "rank"]
OrdinalLoss = Literal["stage1", "pairwise"]


@dataclass(frozen=True, kw_only=True)
class L2RClip(Hyperparameters):
    """Wang et al., "Learning-to-rank meets language", NeurIPS 2023; released losses (MIT).

    The prompt of rank k is a learned context and the words of its class. RankFormer
    (:mod:`adapter.methods.rank_former`) blends a little attention into their word embeddings.
    The loss is a supervised contrastive term in both directions plus an ordinal term on distances
    between image and text embeddings of unit length.

    The authors publish losses, optimizer lists and loaders, not the model. Their first stage keeps
    both towers frozen, and is what runs here; the second stage trains the image tower, which a
    frozen one cannot reproduce, so expect less than the printed numbers. Not published either are
    the weight between the two terms (here 1), the prompts' wording and the number of steps.

    Attributes:
        context: Learned vectors in front of the class name.
        axis: Whether RankFormer attends over the ``token`` s of one prompt, as the abstract says,
            or over the prompts of all ``rank`` s at one place.
        heads: Of the attention; fewer where the width does not divide by them.
        hidden: Width of the feed-forward part.
        ordinal: ``stage1`` is the loss of ``loss/ordinal_ce_stage1.py`` with all three terms,
            ``pairwise`` that of ``loss/ordinal_ce.py`` over all images and ranks.
        ordinal_weight: Of the ordinal term beside the contrastive one; 0 leaves it out.
        epochs: Passes over the training images.
        steps: Updates; 0 takes ``epochs``.
        batch_size: Images per update.
        lr: Of Adam (weight decay 1e-4), after five epochs of growth from 1e-5, on a cosine to
            1e-6.
        flips: Draw from every view of the cache.
    """

    context: int = 16
    axis: Axis = "token"
    heads: int = 8
    hidden: int = 2048
    ordinal: OrdinalLoss = "stage1"
    ordinal_weight: float = 1.0
    epochs: int = 120
    steps: int = 0
    batch_size: int = 64
    lr: float = 3.5e-4
    flips: bool = False
    needs_text: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        self._require_at_least(1, "context", "heads", "hidden", "epochs", "batch_size")
        self._require_at_least(0, "steps", "ordinal_weight")
        self._require_positive("lr")

    def fit(self, data: FoldData) -> CosineClassifier:
        """Learn the context and RankFormer."""
        import torch

        from adapter.methods.loop import Schedule, batch_of, cosine, run_steps
        from adapter.methods.losses import supervised_contrastive
        from adapter.methods.rank_former import RankFormer
        from adapter.methods.tuning import TrainingImages, random_tokens

        text = data.text()
        template = text.template(self.context, [name.rstrip(".") for name in data.class_names])
        words = text.word_mask(template.ids)  # [K, T]
        first = text.embed(template.ids)  # [K, T, D]
        context = random_tokens((self.context, text.width), data.seed, text.device)  # [M, D]
        former = RankFormer(
            text.width, heads=self.heads, hidden=self.hidden, axis=self.axis, seed=data.seed
        ).to(text.device)
        parameters = {"context": context, **dict(former.named_parameters())}
        classes = torch.from_numpy(data.classes_of(data.train)).to(text.device)  # [n]
        images = TrainingImages(data, text.device, flips=self.flips)
        schedule = Schedule.of(self, len(classes))
        steps, warmup = schedule.steps, min(5 * schedule.epoch, schedule.steps // 10)
        rows = torch.arange(len(first), device=text.device)[:, None]  # [K, 1]

        def prompts() -> torch.Tensor:
            learned = context[None].expand(len(first), -1, -1)  # [K, M, D]
            begun = first.index_put((rows, template.slots), learned)  # [K, T, D]
            return text.encode_embedded(template.ids, former(begun, words))  # [K, E]

        def loss_of(step: int) -> torch.Tensor:
            positions = batch_of(len(classes), self.batch_size, step, data.seed)
            batch = torch.from_numpy(positions).to(text.device)
            labels, vectors, ranks = classes[batch], images.batch(positions, step), prompts()
            texts = ranks[labels]  # [B, E], each image's own class
            same = labels[:, None] == labels[None]  # [B, B]
            loss = supervised_contrastive(vectors, texts, same, text.logit_scale)
            loss = loss + supervised_contrastive(texts, vectors, same, text.logit_scale)
            if self.ordinal_weight:
                ordinal = (
                    stage_one_loss(vectors, texts, labels)
                    if self.ordinal == "stage1"
                    else ordinal_pairwise_loss(vectors, ranks, labels)
                )
                loss = loss + self.ordinal_weight * ordinal
            return loss

        run_steps(
            data,
            parameters,
            torch.optim.Adam(parameters.values(), lr=self.lr, weight_decay=1e-4),
            loss_of,
            steps,
            factor=lambda step: cosine(
                step, steps, warmup=warmup, start=1e-5 / self.lr, end=1e-6 / self.lr
            ),
        )
        with torch.no_grad():
            return CosineClassifier.of(data, prompts().cpu().numpy())

    def quick(self) -> L2RClip:
        """Return the same with few steps and a small RankFormer."""
        return replace(
            self,
            context=min(self.context, 4),
            hidden=min(self.hidden, 64),
            steps=60,
            lr=10 * self.lr,
        )


def pair_weights(gaps: torch.Tensor) -> torch.Tensor:
    """Scale distances of labels [...] to 0 ... 1 by their range; zeros where all are equal.

    The original divides by the largest gap, which is 0 for a batch of one label.
    """
    low, high = gaps.min(), gaps.max()
    return (gaps - low) / high.clamp(min=1)


def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Euclidean distances [n, m] of [n, E] and [m, E]; its gradient at zero is zero."""
    square = (a[:, None] - b[None]).pow(2).sum(dim=-1)  # [n, m]
    return (square + 1e-12).sqrt()


def stage_one_loss(images: torch.Tensor, texts: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Ordinal loss of ``loss/ordinal_ce_stage1.py``.

    Over the pairs i < j of a batch, with w_ij = (|y_i - y_j| - min) / max over pairs:
    -mean(w_ij |v_i - T_j|) + 0.5 mean_i |v_i - T_i|^2 - 0.5 mean(w_ij |T_i - T_j|). The original's
    text features of a global prompt, which the authors do not publish, are those of the image's
    own class here; embeddings have unit length, without which the loss has no lower bound.

    Args:
        images: v, [B, E], unit length.
        texts: T, [B, E], unit length, of each image's own class.
        labels: int64 [B], class numbers.

    Returns:
        A scalar; a batch of one image has the tightness alone.
    """
    import torch

    tight = 0.5 * (images - texts).pow(2).sum(dim=1).mean()
    first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
    if len(first) == 0:
        return tight
    weights = pair_weights((labels[first] - labels[second]).abs().to(images.dtype))  # [pairs]
    across = distance(images, texts)[first, second]  # [pairs]
    among = distance(texts, texts)[first, second]  # [pairs]
    return tight - (weights * across).mean() - 0.5 * (weights * among).mean()


def ordinal_pairwise_loss(
    images: torch.Tensor, ranks: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Ordinal pairwise loss of ``loss/ordinal_ce.py``, over all images and ranks.

    mean_i |v_i - t_{y_i}|^2 - mean_ik(w_ik |v_i - t_k|), w_ik = (|y_i - k| - min) / max.

    Args:
        images: v, [B, E], unit length.
        ranks: t, [K, E], unit length.
        labels: int64 [B], class numbers.
    """
    import torch

    tight = (images - ranks[labels]).pow(2).sum(dim=1).mean()
    numbers = torch.arange(len(ranks), device=labels.device)
    weights = pair_weights((labels[:, None] - numbers[None]).abs().to(images.dtype))  # [B, K]
    return tight - (weights * distance(images, ranks)).mean()

"""What the adapter is trained on: the order of pairs, the values, and presence.

    L = ranking_weight * L_rank + regression_weight * L_reg + presence_weight * L_presence

(paper, equation 6; released code, ``ClipAdapterLossV2``). Each loss is made of sums and counts
(:class:`LossTerms`), which add up over parts of a batch: several processes add theirs and get
the loss of the whole batch, including the logarithm around the mean regression error.

Comparisons (left, right, and the share s of the answer that left got: 1, 0, or 1/2 for a tie) are
learned by both heads. The pair head: binary cross-entropy of the asked pair with s, and of the
pair the other way round with 1 - s. The regression head: the model of Bradley and Terry (1952),
cross-entropy of the difference of two scores with s, so that a new image gets a score without
pairs.

A batch in which no pair has an order, or no pair counts at all, adds zero, with zero gradients.
Nothing here waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from adapter.errors import ConfigError
from featcache.configuration import Configuration

if TYPE_CHECKING:
    from torch import Tensor

RankingKind = Literal["bce", "hinge", "none"]
RegressionKind = Literal["log_smooth_l1", "smooth_l1", "none"]
Ties = Literal["zero", "skip"]
Reduction = Literal["mean", "sum"]
HingePairs = Literal["both", "ordered"]


@dataclass(frozen=True, kw_only=True)
class LossConfig(Configuration):
    """Which losses, how they are reduced, and their weights. Defaults are the released ones.

    Attributes:
        ranking: ``bce``: binary cross-entropy of every pair (i, j) with the label 1 where
            y_i > y_j, else 0 (released). ``hinge``: a margin of 1 (paper, equation 5).
        hinge_pairs: ``ordered``: max(0, 1 - O_ij) over the pairs with y_i > y_j and no others,
            which is equation 5 as printed. The pair network sees the larger image first, always,
            so it can answer 1 whatever it sees: the loss is zero, and nothing is learned about
            order. ``both``: max(0, 1 - r O_ij) with r = sign(y_i - y_j) over all pairs of
            different values, so that each pair is seen in both orders and a constant costs 1.
        ties: What ``bce`` does with pairs of equal values, an image with itself among them:
            ``zero`` gives them the label 0 (released), ``skip`` leaves them out. ``hinge`` never
            has them.
        reduction: Of the ranking loss. The paper's ``sum`` of about 2,000 hinges outweighs
            the regression loss by far, so both presets take the mean.
        regression: ``smooth_l1`` (paper, equation 4; beta 1, mean over images) or
            ``log_smooth_l1``, log(1 + that mean) (released).
        presence: Add the cross-entropy of the scores with the label 1 where y != 0 (in the
            released code, off in its commands).
        ranking_weight: Weight of the ranking loss.
        regression_weight: Weight alpha of the regression loss (paper, equation 6).
        presence_weight: Weight of the presence loss.
    """

    _title: ClassVar[str] = "loss configuration"
    _error: ClassVar[type[Exception]] = ConfigError

    ranking: RankingKind = "bce"
    hinge_pairs: HingePairs = "both"
    ties: Ties = "zero"
    reduction: Reduction = "mean"
    regression: RegressionKind = "log_smooth_l1"
    presence: bool = False
    ranking_weight: float = 1.0
    regression_weight: float = 0.2
    presence_weight: float = 1.0

    @classmethod
    def released(cls, **changes: Any) -> Self:
        """Return the losses of the released code."""
        return cls.build(**changes)

    best = released

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """Return the losses of the paper, with the mean in place of equation 5's sum.

        Each pair is seen in both orders (``hinge_pairs``), where equation 5 has only one.
        """
        described: dict[str, Any] = {"ranking": "hinge", "regression": "smooth_l1"}
        return cls.build(**(described | changes))

    @property
    def needs_scores(self) -> bool:
        """Whether any loss reads the regression head."""
        return self.regression != "none" or self.presence

    @property
    def needs_pairs(self) -> bool:
        """Whether any loss reads the ranking head."""
        return self.ranking != "none"

    @property
    def ordered_only(self) -> bool:
        """Whether the ranking loss reads a pair in one order only, the larger value first."""
        return self.ranking == "hinge" and self.hinge_pairs == "ordered"

    def __post_init__(self) -> None:
        """Refuse impossible values, naming the field."""
        super().__post_init__()
        self._require_at_least(0, "ranking_weight", "regression_weight", "presence_weight")
        if not (self.needs_scores or self.needs_pairs):
            raise ConfigError("every loss is switched off; nothing would be trained")


class LossTerms(NamedTuple):
    """Sums and counts of one part of a batch; 0-dimensional float32 tensors or wider.

    Parts with different images, and different pairs, add up field by field. Counts carry no
    gradient. A loss that is off has zero in both fields.
    """

    ranking_sum: Tensor
    ranking_count: Tensor
    regression_sum: Tensor
    presence_sum: Tensor
    image_count: Tensor

    def losses(self, config: LossConfig) -> Losses:
        """Reduce to the losses of all that was added up."""
        pairs = self.ranking_count.clamp(min=1)
        images = self.image_count.clamp(min=1)
        mean = config.reduction == "mean"
        ranking = self.ranking_sum / pairs if mean else self.ranking_sum
        regression = self.regression_sum / images
        if config.regression == "log_smooth_l1":
            regression = regression.log1p()
        presence = self.presence_sum / images
        total = (
            config.ranking_weight * ranking
            + config.regression_weight * regression
            + config.presence_weight * presence
        )
        return Losses(total, ranking, regression, presence)

    def comparison_losses(self, config: LossConfig) -> Losses:
        """Reduce terms of :func:`comparison_terms`: both are means over answers."""
        ranking = self.ranking_sum / self.ranking_count.clamp(min=1)
        regression = self.regression_sum / self.image_count.clamp(min=1)
        total = config.ranking_weight * ranking + config.regression_weight * regression
        return Losses(total, ranking, regression, self.presence_sum)

    def __add__(self, other: object) -> LossTerms:
        """Add the terms of another part."""
        if not isinstance(other, LossTerms):
            return NotImplemented
        return LossTerms(*(a + b for a, b in zip(self, other, strict=True)))


class Losses(NamedTuple):
    """The weighted total and its parts before weighing; 0-dimensional."""

    total: Tensor
    ranking: Tensor
    regression: Tensor
    presence: Tensor


class OrderedPairs(NamedTuple):
    """Every pair of a batch once, the larger value first.

    There are always B (B - 1) / 2, so that shapes do not depend on data; ties have weight 0.

    Attributes:
        first: int64 [K], positions of the images with the larger value.
        second: int64 [K], positions of those with the smaller.
        weight: [K], 1 where the values differ, 0 for a tie; in the targets' dtype.
    """

    first: Tensor
    second: Tensor
    weight: Tensor


def ordered_pairs(targets: Tensor) -> OrderedPairs:
    """Orient every pair of a batch by its values; targets [B], floating point."""
    import torch

    i, j = torch.triu_indices(len(targets), len(targets), 1, device=targets.device)  # [K] each
    higher = targets[i] > targets[j]
    weight = (targets[i] != targets[j]).to(targets.dtype)
    return OrderedPairs(torch.where(higher, i, j), torch.where(higher, j, i), weight)


def loss_terms(
    config: LossConfig,
    targets: Tensor,
    *,
    scores: Tensor | None = None,
    pair_logits: Tensor | None = None,
    column_targets: Tensor | None = None,
    pair_weight: Tensor | None = None,
    gaps: bool = False,
) -> LossTerms:
    """Compute the sums and counts of a batch, or of one process's part of it.

    Args:
        config: Which losses.
        targets: [n], the values y, floating point; or [Q, n] of several queries, then all else
            has that dimension in front, too, and so have the terms.
        scores: [n], the regression head's output; read where a loss needs it.
        pair_logits: [n, m], rows of this part against columns of the whole batch; or [K], the
            ordered pairs of the whole batch, with ``pair_weight``; read where a loss needs it.
        column_targets: [m], the values of the columns; ``targets`` when left out.
        pair_weight: [K], for logits of pairs whose first image is known to have the larger
            value: 1, or 0 for a tie (:func:`ordered_pairs`). Only for ``hinge`` of ``ordered``
            pairs.
        gaps: Targets may be NaN, where there is no label. Such an image, and its pairs, count
            for nothing.

    Returns:
        The terms; ``terms.losses(config).total`` is the loss.

    Raises:
        ConfigError: A loss needs an output that is not there.
    """
    from torch.nn import functional

    zero = targets.new_zeros(())
    ranking_sum = ranking_count = regression_sum = presence_sum = zero
    columns = targets if column_targets is None else column_targets
    known = None
    if gaps:
        known, column_known = ~targets.isnan(), ~columns.isnan()  # [n], [m]
        targets, columns = targets.nan_to_num(), columns.nan_to_num()
    if config.needs_pairs:
        if pair_logits is None:
            raise ConfigError(f"ranking loss {config.ranking} needs a ranking head (pair_head)")
        if pair_weight is not None and not config.ordered_only:
            raise ConfigError("pair_weight is only for the hinge of ordered pairs")
        pair_logits = pair_logits.to(targets.dtype)  # sums over pairs stay out of half precision
        if pair_weight is not None:
            weight, loss = pair_weight, functional.relu(1 - pair_logits)
        else:
            difference = targets[..., :, None] - columns[..., None, :]  # [n, m]
            above = (difference > 0).to(pair_logits.dtype)
            if config.ranking == "hinge":
                sign = difference.sign().to(pair_logits.dtype)  # [n, m]
                loss = functional.relu(1 - sign * pair_logits)  # eq. 5
                weight = above if config.ordered_only else sign.abs()
            else:
                loss = functional.binary_cross_entropy_with_logits(
                    pair_logits, above, reduction="none"
                )
                weight = (difference != 0) if config.ties == "skip" else above.new_ones(())
            if known is not None:
                weight = weight * (known[..., :, None] & column_known[..., None, :])
        pairs = (-2, -1) if pair_weight is None else -1
        ranking_sum = (loss * weight).sum(pairs)
        ranking_count = weight.expand_as(loss).sum(pairs)
    if config.needs_scores:
        if scores is None:
            raise ConfigError("the regression and presence losses need a score head")
        scores = scores.to(targets.dtype)
        if config.regression != "none":
            error = functional.smooth_l1_loss(scores, targets, reduction="none")  # eq. 4
            regression_sum = (error if known is None else error * known).sum(-1)
        if config.presence:
            entropy = functional.binary_cross_entropy_with_logits(
                scores, (targets != 0).to(scores.dtype), reduction="none"
            )
            presence_sum = (entropy if known is None else entropy * known).sum(-1)
    count = zero + targets.shape[-1] if known is None else known.sum(-1).to(targets.dtype)
    return LossTerms(ranking_sum, ranking_count, regression_sum, presence_sum, count)


def comparison_terms(
    shares: Tensor, *, differences: Tensor | None = None, pair_logits: Tensor | None = None
) -> LossTerms:
    """Compute the sums and counts of comparisons, or of one process's part of them.

    Args:
        shares: [k], of the answers, to the first image: 1, 0 or 1/2.
        differences: [k], score of the first image minus that of the second; None without a
            regression head.
        pair_logits: [2, k], of (first, second) and of (second, first); None without a ranking head.

    Returns:
        The terms; ``terms.comparison_losses(config).total`` is the loss.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    zero = shares.new_zeros(())
    count = zero + shares.shape[0]
    ranking_sum = ranking_count = regression_sum = zero
    if pair_logits is not None:
        both = shares.new_tensor([[0.0], [1.0]]).sub(shares).abs()  # [2, k]
        ranking_sum = cross_entropy(pair_logits.to(shares.dtype), both, reduction="sum")
        ranking_count = 2 * count
    if differences is not None:
        regression_sum = cross_entropy(differences.to(shares.dtype), shares, reduction="sum")
    return LossTerms(ranking_sum, ranking_count, regression_sum, zero, count)

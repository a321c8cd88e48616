"""One training step's mathematics, for one process or its part of several.

Images are encoded one by one, each process its own part. What pairs need of them (summaries) is
gathered, each process computes its share of the pairs, and sums and counts are added up, so that
every process holds the loss of the whole batch. Heads without a loss are not computed, and the
hinge of ordered pairs runs the pair network on those only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from adapter.data.feed import part_of, to_compute
from adapter.network.losses import (
    LossConfig,
    Losses,
    LossTerms,
    comparison_terms,
    loss_terms,
    ordered_pairs,
)
from adapter.training.distributed import add_up, gather

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor

    from adapter.network.model import RankingAdapter
    from adapter.network.ranking import PairSummary
    from adapter.training.distributed import World


def batch_losses(
    model: RankingAdapter,
    config: LossConfig,
    world: World,
    image_tokens: Tensor,
    text_tokens: Tensor,
    targets: Tensor,
    autocast: AbstractContextManager[None],
) -> Losses:
    """Compute the losses of a whole batch, of which this process holds a part.

    Args:
        model: The adapter.
        config: Which losses.
        world: The processes.
        image_tokens: [n, P, C], this process's part of the batch.
        text_tokens: [T, D] of one prompt, or [Q, T, D] of several.
        targets: float32 [b], of the whole batch. Of several prompts [Q, b], NaN where there is
            no label; the losses are then means over the prompts that have labels.
        autocast: The context that chooses the precision of the network; losses are float32.

    Returns:
        The losses of the whole batch, the same on every process. Gradients summed over
        processes are the gradients of the total.
    """
    several = targets.ndim == 2
    lengths, part = _parts(targets.shape[-1], world)
    with autocast:
        encode = model.encode_every if several else model.encode
        scores, summary = encode(to_compute(image_tokens), text_tokens)
        logits = weight = None
        if config.needs_pairs and summary is not None:
            everyone = summary
            if world.size > 1:
                images = 1 if several else 0  # the dimension; prompts come first
                everyone = summary.apply(lambda x: _gather_images(x, images, lengths, world))
            logits, weight = _pair_logits(model, config, world, summary, everyone, targets)
    terms = loss_terms(
        config,
        targets[..., part],
        scores=None if scores is None else scores.float(),
        pair_logits=None if logits is None else logits.float(),
        column_targets=targets,
        pair_weight=weight,
        gaps=several,
    )
    if world.size > 1:
        each = torch.stack([term.expand(targets.shape[:-1]) for term in terms])  # [5] or [5, Q]
        terms = LossTerms(*add_up(each, world).unbind())
    losses = terms.losses(config)
    if not several:
        return losses
    there = (terms.image_count > 0).float()  # [Q]
    share = there / there.sum().clamp(min=1)
    return Losses(*((loss * share).sum() for loss in losses))


def _parts(count: int, world: World) -> tuple[list[int], slice]:
    """Return how many of a batch's items each process holds, and which are this one's."""
    parts = [part_of(count, rank, world.size) for rank in range(world.size)]
    return [part.stop - part.start for part in parts], parts[world.rank]


def _gather_images(part: Tensor, images: int, lengths: list[int], world: World) -> Tensor:
    """Gather the images of all processes, which lie in one dimension of each part."""
    return gather(part.transpose(0, images), lengths, world).transpose(0, images)


def _pair_logits(
    model: RankingAdapter,
    config: LossConfig,
    world: World,
    these: PairSummary,
    everyone: PairSummary,
    targets: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Compute this process's share of the pair logits that the loss reads."""
    if not config.ordered_only or targets.ndim == 2:
        return model.compare_summaries(these, everyone), None
    pairs = ordered_pairs(targets)
    share = part_of(len(pairs.first), world.rank, world.size)
    logits = model.ordered_pair_logits(everyone, pairs.first[share], pairs.second[share])
    return logits, pairs.weight[share]


def comparison_losses(
    model: RankingAdapter,
    config: LossConfig,
    world: World,
    image_tokens: Tensor,
    text_tokens: Tensor,
    targets: Tensor,
    autocast: AbstractContextManager[None],
) -> Losses:
    """Compute the losses of a batch of b / 2 comparisons; arguments as for :func:`batch_losses`.

    Image i was compared with image i + b / 2; ``targets`` [b] are their shares of the answers.
    """
    count = len(targets)
    lengths, _ = _parts(count, world)
    answers = part_of(count // 2, world.rank, world.size)
    left = torch.arange(count // 2, device=targets.device)[answers]  # [k]
    right = left + count // 2
    differences = logits = None
    with autocast:
        scores, summary = model.encode(to_compute(image_tokens), text_tokens)
        if config.regression != "none" and scores is not None:
            everyone = gather(scores, lengths, world)  # [b]
            differences = (everyone[left] - everyone[right]).float()
        if config.needs_pairs and summary is not None:
            both = summary.apply(lambda x: gather(x, lengths, world))
            first, second = torch.cat([left, right]), torch.cat([right, left])
            logits = model.ordered_pair_logits(both, first, second).view(2, -1).float()
    terms = comparison_terms(targets[left], differences=differences, pair_logits=logits)
    if world.size > 1:
        terms = LossTerms(*add_up(torch.stack(list(terms)), world).unbind())
    return terms.comparison_losses(config)

"""TMCR's two trainings: contrast levels of the score, then learn distributions of ratings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from adapter.methods.loop import batch_of, run_steps
from adapter.methods.losses import emd
from adapter.methods.tmcr_features import read_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from adapter.methods.method import Array, FoldData, Rows
    from adapter.methods.tmcr_features import Settings
    from adapter.methods.tmcr_network import TmcrNetwork


def tracked(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return a module's parameters and buffers by name: all that a stopped fit has to keep."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def contrast(
    method: Settings, data: FoldData, network: TmcrNetwork, groups: Sequence[Sequence[Rows]]
) -> None:
    """Train the encoder: each batch is one cluster, with as many images of each of its levels.

    Args:
        method: The settings.
        data: The fold.
        network: Its encoder is trained, in place.
        groups: Per cluster and level, ascending, positions in the training part.
    """
    encoder = network.encoder
    if encoder is None:
        return
    encoder.train()
    device = next(network.parameters()).device

    def loss_of(step: int) -> Tensor:
        draw = np.random.default_rng([data.seed, step, 2])
        group = groups[int(draw.integers(len(groups)))]
        chosen = [
            draw.choice(level, method.per_level, replace=len(level) < method.per_level)
            for level in group
        ]
        rows = data.train.rows[np.concatenate(chosen)]
        tokens = read_tokens(data.vectors, rows, method.parts, method.pooling)
        if tokens is None:
            raise AssertionError("an encoder reads tokens")
        z = encoder.project(encoder(tokens.to(device)))  # [levels x per_level, W]
        bins = torch.split(z, [len(level) for level in chosen])
        return traversal_loss(bins, method.temperature, printed=method.traversal == "printed")

    run_steps(
        data,
        tracked(encoder),
        torch.optim.AdamW(encoder.parameters(), lr=method.encoder_lr, weight_decay=0.05),
        loss_of,
        method.encoder_steps,
        name="encoder-",
    )
    encoder.eval()


def traversal_loss(bins: Sequence[Tensor], temperature: float, *, printed: bool = False) -> Tensor:
    """Contrast every level with those that lie beyond each of the others.

    For each direction and anchor level a, the positive level p goes from a outwards while levels
    remain beyond it, which are the negatives: n (n - 1) terms for n levels, which are summed.

    ``released`` (``CR/CR_AVA.py``): a term is the supervised contrastive loss over all of
    S = A + P + N with two classes, anchors and positives against negatives; p = a puts the level
    in twice, so that each image meets its own copy, and negatives are anchors too.
    ``printed`` (equations 9 and 10): the mean over a in A and p in P, but for an image with
    itself, of -log(e^{a.p / t} / (e^{a.p / t} + sum_N e^{a.n / t})).

    Args:
        bins: Per level, ascending: [m, W], unit length.
        temperature: t.
        printed: Which form.
    """
    total = bins[0].new_zeros(())
    for ordered in (list(bins), list(bins)[::-1]):
        for a in range(len(ordered) - 1):
            for p in range(a, len(ordered) - 1):
                beyond = torch.cat(ordered[p + 1 :])  # [N, W]
                if printed:
                    term = _printed_term(ordered[a], ordered[p], beyond, temperature, same=a == p)
                else:
                    term = _released_term(ordered[a], ordered[p], beyond, temperature)
                total = total + term
    return total


def _released_term(a: Tensor, p: Tensor, beyond: Tensor, temperature: float) -> Tensor:
    z = torch.cat([a, p, beyond])  # [S, W]
    near = len(a) + len(p)
    side = torch.arange(len(z), device=z.device) < near  # [S], anchors and positives
    alone = torch.eye(len(z), dtype=torch.bool, device=z.device)
    logits = (z @ z.T / temperature).masked_fill(alone, -torch.inf)  # [S, S]
    logs = torch.log_softmax(logits, dim=1).masked_fill(alone, 0.0)
    same = (side[:, None] == side[None]) & ~alone
    count = same.sum(dim=1)
    # A single negative has nobody of its own class: it pulls nobody, and is left out.
    kept = count > 0
    means = -(logs * same).sum(dim=1)[kept] / count[kept]
    return means.mean()


def _printed_term(
    a: Tensor, p: Tensor, beyond: Tensor, temperature: float, *, same: bool
) -> Tensor:
    near = a @ p.T / temperature  # [A, P]
    far = torch.logsumexp(a @ beyond.T / temperature, dim=1, keepdim=True)  # [A, 1]
    terms = torch.nn.functional.softplus(far - near)  # -log(e^near / (e^near + e^far))
    if same:
        others = ~torch.eye(len(a), dtype=torch.bool, device=a.device)
        if not bool(others.any()):
            return terms.sum() * 0
        terms = terms[others]
    return terms.mean()


def learn_head(
    method: Settings,
    data: FoldData,
    network: TmcrNetwork,
    similarities: Tensor,
    targets: Array,
) -> None:
    """Learn distributions of ratings by the earth mover's distance, r = 2.

    Args:
        method: The settings.
        data: The fold.
        network: Trained in place, and left in evaluation mode.
        similarities: float32 [n, S + A], of the training part.
        targets: float64 [n, L].
    """
    device = next(network.parameters()).device
    goal = torch.tensor(targets, dtype=torch.float32, device=device)
    tags = similarities.to(device)
    count = len(goal)
    epoch = math.ceil(count / method.batch_size)
    fixed = None if network.encoder is None or method.finetune else _encoded(method, data, network)
    network.train()
    if network.encoder is not None and not method.finetune:
        network.encoder.eval().requires_grad_(False)

    def loss_of(step: int) -> Tensor:
        positions = _whole_batch(batch_of(count, method.batch_size, step, data.seed), count)
        batch = torch.from_numpy(positions).to(device)
        if network.encoder is None or fixed is not None:
            encoded = None if fixed is None else fixed[batch]
        else:
            rows = data.train.rows[positions]
            tokens = read_tokens(data.vectors, rows, method.parts, method.pooling)
            encoded = None if tokens is None else network.encoder(tokens.to(device))
        return emd(network.read(tags[batch], encoded).softmax(dim=1), goal[batch])

    learned = [p for p in network.parameters() if p.requires_grad]
    run_steps(
        data,
        tracked(network),
        torch.optim.Adam(learned, lr=method.lr),
        loss_of,
        method.epochs * epoch,
        factor=lambda step: 0.9 ** (step // epoch),
        name="head-",
    )
    network.eval().cpu()


def _whole_batch(positions: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Give a last batch of one image a second one: a batch norm needs two."""
    if len(positions) > 1 or count == 1:
        return positions
    return np.append(positions, (positions[0] + 1) % count)


def _encoded(method: Settings, data: FoldData, network: TmcrNetwork) -> Tensor:
    """Encode the training part with the encoder as it is: float32 [n, W]."""
    encoder = network.encoder
    assert encoder is not None
    device = next(network.parameters()).device
    encoder.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(data.train.rows), 256):
            rows = data.train.rows[start : start + 256]
            tokens = read_tokens(data.vectors, rows, method.parts, method.pooling)
            assert tokens is not None
            found.append(encoder(tokens.to(device)))
    return torch.cat(found).clone()

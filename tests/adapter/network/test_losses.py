"""Losses against the formulas, written out pair by pair."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adapter.errors import ConfigError
from adapter.network.losses import LossConfig, loss_terms, ordered_pairs

CONFIGS = [
    LossConfig.released(),
    LossConfig.released(ties="skip", presence=True),
    LossConfig.paper(),
    LossConfig.paper(hinge_pairs="ordered", reduction="sum"),
    LossConfig(ranking="none"),
    LossConfig(regression="none"),
    LossConfig(ranking="bce", reduction="sum", regression="smooth_l1"),
]


def example(values: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    n = len(values)
    scores = torch.randn(n, generator=generator, dtype=torch.float64)
    logits = torch.randn(n, n, generator=generator, dtype=torch.float64) * 2
    return torch.tensor(values, dtype=torch.float64), scores, logits


def by_hand(config: LossConfig, y: Tensor, scores: Tensor, logits: Tensor) -> float:
    """Compute the loss with Python numbers, one pair at a time."""

    def bce(logit: float, label: float) -> float:
        return math.log1p(math.exp(-abs(logit))) + max(logit, 0) - logit * label

    n = len(y)
    pairs = []
    for i in range(n):
        for j in range(n):
            if config.ranking == "bce" and not (config.ties == "skip" and y[i] == y[j]):
                pairs.append(bce(float(logits[i, j]), float(y[i] > y[j])))
            elif config.ranking == "hinge" and y[i] > y[j]:
                pairs.append(max(0.0, 1 - float(logits[i, j])))
                if config.hinge_pairs == "both":
                    pairs.append(max(0.0, 1 + float(logits[j, i])))
    total = sum(pairs) * config.ranking_weight
    if config.reduction == "mean":
        total /= max(len(pairs), 1)
    if config.regression != "none":
        errors = [abs(float(s - t)) for s, t in zip(scores, y, strict=True)]
        value = sum(e * e / 2 if e < 1 else e - 0.5 for e in errors) / n
        value = math.log(1 + value) if config.regression == "log_smooth_l1" else value
        total += config.regression_weight * value
    if config.presence:
        terms = [bce(float(s), float(t != 0)) for s, t in zip(scores, y, strict=True)]
        total += config.presence_weight * sum(terms) / n
    return total


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=20)
@given(values=st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0]), min_size=1, max_size=6))
def test_losses_equal_the_formulas(config: LossConfig, values: list[float]) -> None:
    y, scores, logits = example(values)
    losses = loss_terms(config, y, scores=scores, pair_logits=logits).losses(config)
    assert float(losses.total) == pytest.approx(by_hand(config, y, scores, logits), rel=1e-12)


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=20)
@given(cut=st.integers(0, 6))
def test_parts_of_a_batch_add_up(config: LossConfig, cut: int) -> None:
    y, scores, logits = example([3, 0, 0, 5, 1, 3])
    whole = loss_terms(config, y, scores=scores, pair_logits=logits)
    parts = [
        loss_terms(config, y[p], scores=scores[p], pair_logits=logits[p], column_targets=y)
        for p in (slice(0, cut), slice(cut, None))
    ]
    torch.testing.assert_close(
        (parts[0] + parts[1]).losses(config).total, whole.losses(config).total
    )


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=20)
@given(known=st.lists(st.booleans(), min_size=6, max_size=6))
def test_images_without_a_label_count_for_nothing(config: LossConfig, known: list[bool]) -> None:
    y, scores, logits = example([3, 0, 0, 5, 1, 3])
    at = torch.tensor(known).nonzero()[:, 0]
    gone = y.where(torch.tensor(known), torch.nan).requires_grad_()
    found = loss_terms(config, gone, scores=scores, pair_logits=logits, gaps=True).losses(config)
    expected = loss_terms(config, y[at], scores=scores[at], pair_logits=logits[at][:, at])
    for loss, other in zip(found, expected.losses(config), strict=True):
        torch.testing.assert_close(loss, other)


@pytest.mark.parametrize("config", CONFIGS)
def test_several_queries_at_once_have_the_losses_of_each(config: LossConfig) -> None:
    examples = [example(values) for values in ([3, 0, 0, 5], [1, 1, 2, 2])]
    y, scores, logits = (torch.stack(part) for part in zip(*examples, strict=True))
    together = loss_terms(config, y, scores=scores, pair_logits=logits).losses(config)
    each = [loss_terms(config, y, scores=s, pair_logits=o).losses(config) for y, s, o in examples]
    for field, loss in enumerate(together):
        expected = torch.stack([losses[field] for losses in each])
        torch.testing.assert_close(loss.expand(2), expected)


@settings(max_examples=30)
@given(values=st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=7))
def test_ordered_pairs_alone_give_the_same_hinge(values: list[float]) -> None:
    config = LossConfig.paper(hinge_pairs="ordered")
    y, scores, logits = example(values)
    pairs = ordered_pairs(y)
    n = len(values)
    assert len(pairs.first) == len(pairs.second) == len(pairs.weight) == n * (n - 1) // 2
    assert bool((y[pairs.first] >= y[pairs.second]).all())
    some = loss_terms(
        config,
        y,
        scores=scores,
        pair_logits=logits[pairs.first, pairs.second],
        pair_weight=pairs.weight,
    )
    every = loss_terms(config, y, scores=scores, pair_logits=logits)
    torch.testing.assert_close(some, every)


@pytest.mark.parametrize("config", [LossConfig.paper(), LossConfig.released(ties="skip")])
@pytest.mark.parametrize("values", [[2.0, 2.0, 2.0], [4.0]])
def test_a_batch_without_an_ordered_pair_adds_nothing(
    config: LossConfig, values: list[float]
) -> None:
    y, scores, logits = example(values)
    logits.requires_grad_()
    losses = loss_terms(config, y, scores=scores, pair_logits=logits).losses(config)
    assert float(losses.ranking.detach()) == 0
    losses.total.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_constant_answers_ordered_pairs_and_not_both_orders() -> None:
    """Equation 5 as printed is zero for a pair network that always says 1."""
    y = torch.tensor([3.0, 1.0, 2.0])
    ones = torch.ones(3, 3, requires_grad=True)
    losses = {}
    for kind in ("ordered", "both"):
        config = LossConfig.paper(hinge_pairs=kind, regression="none")
        losses[kind] = loss_terms(config, y, pair_logits=ones).losses(config).total
    assert float(losses["ordered"].detach()) == 0
    assert float(losses["both"].detach()) == 1
    (gradient,) = torch.autograd.grad(losses["both"], ones)
    assert bool((gradient[y[:, None] < y[None]] > 0).all())  # the reversed pairs are pushed down


def test_released_ties_and_diagonal_count_as_label_zero() -> None:
    config = LossConfig.released(regression="none")
    y, _, logits = example([1.0, 1.0])
    loss = loss_terms(config, y, pair_logits=logits).losses(config).total
    assert float(loss) == pytest.approx(float(torch.nn.functional.softplus(logits).mean()))


@pytest.mark.parametrize("config", CONFIGS)
def test_gradients_by_finite_differences(config: LossConfig) -> None:
    y, scores, logits = example([3, 0, 0, 5])
    assert torch.autograd.gradcheck(
        lambda s, p: loss_terms(config, y, scores=s, pair_logits=p).losses(config).total,
        (scores.requires_grad_(), logits.requires_grad_()),
    )


def test_half_precision_outputs_are_reduced_in_float32() -> None:
    y = torch.arange(8.0)
    config = LossConfig.released()
    scores, logits = torch.randn(8), torch.randn(8, 8)
    terms = loss_terms(config, y, scores=scores.half(), pair_logits=logits.half())
    assert {t.dtype for t in terms} == {torch.float32}


def test_no_outputs_are_needed_for_losses_that_are_off() -> None:
    y, scores, logits = example([1.0, 2.0])
    loss_terms(LossConfig(ranking="none"), y, scores=scores)
    loss_terms(LossConfig(regression="none"), y, pair_logits=logits)
    with pytest.raises(ConfigError, match="needs a ranking head"):
        loss_terms(LossConfig(), y, scores=scores)
    with pytest.raises(ConfigError, match="need a score head"):
        loss_terms(LossConfig(), y, pair_logits=logits)
    with pytest.raises(ConfigError, match="hinge of ordered pairs"):
        loss_terms(LossConfig(), y, scores=scores, pair_logits=logits[0], pair_weight=y)


@pytest.mark.parametrize(
    "changes",
    [
        {"ranking": "margin"},
        {"ties": "half"},
        {"hinge_pairs": "all"},
        {"reduction": "max"},
        {"regression": "l2"},
        {"presence": 1},
        {"ranking_weight": -1.0},
        {"regression_weight": float("nan")},
        {"regression_weight": "much"},
        {"presence_weight": float("inf")},
        {"ranking": "none", "regression": "none"},
    ],
)
def test_impossible_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(changes))}|switched off"):
        LossConfig(**changes)


def test_configurations_survive_a_round_trip() -> None:
    config = LossConfig.paper(presence=True)
    assert LossConfig.from_dict(config.to_dict()) == config
    assert config.replace(ranking="bce").ranking == "bce"
    with pytest.raises(ConfigError, match="unknown rankings; the fields are"):
        LossConfig.from_dict(config.to_dict() | {"rankings": "bce"})
    with pytest.raises(ConfigError, match="missing ties"):
        LossConfig.from_dict({k: v for k, v in config.to_dict().items() if k != "ties"})
    for build in (LossConfig.released, LossConfig.paper, config.replace):
        with pytest.raises(ConfigError, match="unknown rankings"):
            build(rankings="bce")
